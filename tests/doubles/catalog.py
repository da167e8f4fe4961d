"""A catalog that says of each name where it is; what it says may be a lie."""

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import Located
from agent.artifacts.file import FileArtifactStore
from agent.errors import NotFound


class GivenCatalog(FileArtifactStore):
    """Holds no bytes itself; *places* are the texts that somebody wrote into it.

    A file ``preview.html`` in any of them is not the artifact's own.
    """

    def __init__(self, root: ArtifactUri, places: dict[str, str]) -> None:
        super().__init__("catalog", root, block_bytes=lambda: 65536)
        self._places = {f"{root}/{name}": place for name, place in places.items()}

    async def locate(self, uri: ArtifactUri) -> Located:
        if str(uri) not in self._places:
            raise NotFound
        place = ArtifactUri.parse(self._places[str(uri)])
        beside = ArtifactUri(place.scheme, place.bucket, (*place.segments, "preview.html"))
        return Located(place, frozenset([beside]))
