"""A catalog that says of each name where it is; what it says may be a lie."""

from agent.artifact_uri import ArtifactUri
from agent.artifacts.file import FileArtifactStore
from agent.errors import NotFound


class GivenCatalog(FileArtifactStore):
    """Holds no bytes itself; *places* are the texts that somebody wrote into it."""

    def __init__(self, root: ArtifactUri, places: dict[str, str]) -> None:
        super().__init__("catalog", root, block_bytes=lambda: 65536)
        self._places = {f"{root}/{name}": place for name, place in places.items()}

    async def locate(self, uri: ArtifactUri) -> ArtifactUri:
        if str(uri) not in self._places:
            raise NotFound
        return ArtifactUri.parse(self._places[str(uri)])
