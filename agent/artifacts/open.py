"""Makes the configured artifact stores. What a store does is in its own file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from agent.artifacts.base import ArtifactStore, BlockBytes
from agent.artifacts.stores import ArtifactStores
from agent.config import artifact_stores as config
from agent.config.plugged import plugged, plugged_names
from agent.connectors.base import Connector
from agent.credentials import (
    AwsCredentials,
    AzureCredentials,
    Credentials,
    GcpCredentials,
    HttpCredentials,
)
from agent.errors import UsageError

PLUGINS = "cloud_agent.artifact_stores"
"""Entry points of other packages: the name is a URI's scheme, the object a `Factory`."""

C = TypeVar("C", bound=Credentials)

Factory = Callable[[config.ArtifactStore, Connector[Any] | None, BlockBytes], ArtifactStore]
"""Takes the settings, the connector they name and what says the size of a block; does no I/O."""


def open_artifact_stores(
    stores: Sequence[config.ArtifactStore],
    connectors: Mapping[str, Connector[Any]],
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
        ],
        connectors={store.name: store.connector for store in stores if store.connector},
    )


def _s3(
    store: config.ArtifactStore, connector: Connector[Any] | None, block_bytes: BlockBytes
) -> ArtifactStore:
    from agent.artifacts.s3.store import S3ArtifactStore

    login = needed(store, connector, AwsCredentials)
    return S3ArtifactStore(store.name, store.root, login, block_bytes=block_bytes)


def _gs(
    store: config.ArtifactStore, connector: Connector[Any] | None, block_bytes: BlockBytes
) -> ArtifactStore:
    from agent.artifacts.gcs.store import GcsArtifactStore

    login = needed(store, connector, GcpCredentials)
    return GcsArtifactStore(store.name, store.root, login, block_bytes=block_bytes)


def _file(
    store: config.ArtifactStore, connector: Connector[Any] | None, block_bytes: BlockBytes
) -> ArtifactStore:
    from agent.artifacts.file import FileArtifactStore

    if connector is not None:
        raise UsageError(f"artifact store {store.name}: file takes no connector; remove it")
    return FileArtifactStore(store.name, store.root, block_bytes=block_bytes)


def _zenml(
    store: config.ArtifactStore, connector: Connector[Any] | None, _block_bytes: BlockBytes
) -> ArtifactStore:
    from agent.artifacts.zenml.store import ZenmlArtifactStore

    login = needed(store, connector, HttpCredentials)
    return ZenmlArtifactStore(store.name, store.root, login)


def _http(
    store: config.ArtifactStore, connector: Connector[Any] | None, block_bytes: BlockBytes
) -> ArtifactStore:
    from agent.artifacts.http.store import HttpArtifactStore
    from agent.connectors.http import HttpLogin, NoLogin

    if connector is None:
        connector = HttpLogin(f"none of {store.name}", NoLogin(), ca_file=store.ca_file)
    elif store.ca_file is not None:
        raise UsageError(f"artifact store {store.name}: ca_file belongs to its connector")
    login = needed(store, connector, HttpCredentials)
    return HttpArtifactStore(store.name, store.root, login, block_bytes=block_bytes)


def _mlflow(
    store: config.ArtifactStore, connector: Connector[Any] | None, block_bytes: BlockBytes
) -> ArtifactStore:
    from agent.artifacts.mlflow.store import MlflowArtifactStore

    login = needed(store, connector, HttpCredentials)
    return MlflowArtifactStore(store.name, store.root, login, block_bytes=block_bytes)


def _azure(
    store: config.ArtifactStore, connector: Connector[Any] | None, block_bytes: BlockBytes
) -> ArtifactStore:
    from agent.artifacts.azure.store import AzureArtifactStore

    login = needed(store, connector, AzureCredentials)
    return AzureArtifactStore(store.name, store.root, login, block_bytes=block_bytes)


FACTORIES: Mapping[str, Factory] = {
    "s3": _s3,
    "gs": _gs,
    "az": _azure,
    "abfs": _azure,
    "abfss": _azure,
    "file": _file,
    "zenml": _zenml,
    "http": _http,
    "https": _http,
    "mlflow": _mlflow,
}


def needed(
    store: config.ArtifactStore, connector: Connector[Any] | None, gives: type[C]
) -> Connector[C]:
    """Return *connector* as one that gives credentials of the type *gives*.

    Raises:
        UsageError: There is none, or it gives others.
    """
    if connector is None or connector.gives is not gives:
        kind = gives.__name__.removesuffix("Credentials").lower()
        place = f"artifact store {store.name}: {store.root.scheme}://"
        raise UsageError(f"{place} needs a connector with credentials for {kind}")
    return connector


def _factory(store: config.ArtifactStore) -> Factory:
    scheme = store.root.scheme
    if scheme in FACTORIES:
        return FACTORIES[scheme]
    plugin: Factory | None = plugged(PLUGINS, scheme)
    if plugin is None:
        known = ", ".join(sorted({*FACTORIES, *plugged_names(PLUGINS)}))
        raise UsageError(f"artifact store {store.name}: no scheme {scheme}://; there are: {known}")
    return plugin


def _connector(
    store: config.ArtifactStore, connectors: Mapping[str, Connector[Any]]
) -> Connector[Any] | None:
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
