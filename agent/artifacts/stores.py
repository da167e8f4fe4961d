"""All configured artifact stores, found by what they hold. How a store is made is `open`'s part."""

from collections.abc import Iterator, Mapping, Sequence

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore
from agent.closing import close_guarded
from agent.errors import NotFound


class ArtifactStores:
    """Finds the store of a URI; of nested roots the longest wins, whatever the order given.

    *connectors* holds, by the name of a store, the name of the connector that it reads with.
    """

    def __init__(
        self,
        rooted: Sequence[tuple[ArtifactUri, ArtifactStore]],
        *,
        connectors: Mapping[str, str] | None = None,
    ) -> None:
        self._connectors = dict(connectors or {})
        self._rooted = sorted(rooted, key=lambda pair: len(pair[0].segments), reverse=True)
        self._in_order = [store for _, store in rooted]

    def find(self, uri: ArtifactUri) -> ArtifactStore:
        """Return the store that *uri* lies in.

        Raises:
            NotFound: No configured root contains it. Its text is that of a missing object, so a
                stranger can't tell which buckets and directories there are.
        """
        for root, store in self._rooted:
            if uri.within(root):
                return store
        raise NotFound(detail="no configured artifact store contains the URI")

    def by_name(self, name: str) -> ArtifactStore:
        """Return the store that the configuration calls *name*.

        Raises:
            NotFound: There is none.
        """
        for store in self:
            if store.name == name:
                return store
        raise NotFound("there is no artifact store of that name")

    def root_of(self, name: str) -> ArtifactUri:
        """Return the root that the configuration gives the store called *name*.

        Raises:
            NotFound: There is none.
        """
        wanted = self.by_name(name)
        return next(root for root, store in self._rooted if store is wanted)

    def connector_of(self, name: str) -> str | None:
        """Return the name of the connector that the store called *name* reads with, if any."""
        return self._connectors.get(name)

    def roots(self) -> list[ArtifactUri]:
        """Return the roots of all stores, in no particular order."""
        return [root for root, _ in self._rooted]

    def __iter__(self) -> Iterator[ArtifactStore]:
        """Go through the stores in the order of the configuration."""
        return iter(self._in_order)

    async def close(self) -> None:
        """Close every store, also when one fails; idempotent."""
        for store in self:
            await close_guarded("artifact store", store.name, store.close)
