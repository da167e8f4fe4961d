"""Makes the configured artifact stores. What a store does is in its own file."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points

from agent.artifacts.base import ArtifactStore, BlockBytes
from agent.artifacts.file import FileArtifactStore
from agent.artifacts.s3 import S3ArtifactStore
from agent.artifacts.stores import ArtifactStores
from agent.config import settings as config
from agent.connectors.base import Connector
from agent.errors import UsageError

PLUGINS = "cloud_agent.artifact_stores"
"""Entry points of other packages: the name is a URI's scheme, the object a `Factory`."""

Factory = Callable[[config.ArtifactStore, Connector | None, BlockBytes], ArtifactStore]
"""Takes the settings, the connector they name and what says the size of a block; does no I/O."""


def open_artifact_stores(
    stores: Sequence[config.ArtifactStore],
    connectors: Mapping[str, Connector],
    *,
    block_bytes: BlockBytes,
) -> ArtifactStores:
    """Return the stores of the configuration; reaches none of them.

    Raises:
        UsageError: A store needs another connector, a scheme is unknown, or two stores are alike.
    """
    _require_distinct(stores)
    return ArtifactStores(
        [
            (store.root, _factory(store)(store, _connector(store, connectors), block_bytes))
            for store in stores
        ]
    )


def _s3(
    store: config.ArtifactStore, connector: Connector | None, block_bytes: BlockBytes
) -> ArtifactStore:
    if connector is None:
        raise UsageError(f"artifact store {store.name}: s3 needs a connector of type aws")
    return S3ArtifactStore(store.name, store.root, connector, block_bytes=block_bytes)


def _file(
    store: config.ArtifactStore, connector: Connector | None, block_bytes: BlockBytes
) -> ArtifactStore:
    if connector is not None:
        raise UsageError(f"artifact store {store.name}: file takes no connector; remove it")
    return FileArtifactStore(store.name, store.root, block_bytes=block_bytes)


FACTORIES: Mapping[str, Factory] = {
    "s3": _s3,
    "file": _file,
}


def _factory(store: config.ArtifactStore) -> Factory:
    scheme = store.root.scheme
    if scheme in FACTORIES:
        return FACTORIES[scheme]
    plugins = {point.name: point for point in entry_points(group=PLUGINS)}
    if scheme not in plugins:
        known = ", ".join(sorted({*FACTORIES, *plugins}))
        raise UsageError(f"artifact store {store.name}: no scheme {scheme}://; there are: {known}")
    factory: Factory = plugins[scheme].load()
    return factory


def _connector(
    store: config.ArtifactStore, connectors: Mapping[str, Connector]
) -> Connector | None:
    if store.connector is None:
        return None
    if store.connector not in connectors:
        raise UsageError(f"artifact store {store.name}: there is no connector {store.connector}")
    return connectors[store.connector]


def _require_distinct(stores: Sequence[config.ArtifactStore]) -> None:
    for index, store in enumerate(stores):
        for other in stores[:index]:
            if store.name == other.name:
                raise UsageError(f"two artifact stores are called {store.name}")
            if store.root == other.root:
                raise UsageError(f"artifact stores {other.name} and {store.name} have the same uri")
