"""Which store a URI belongs to, and how stores are made of the configuration."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts import open as opening
from agent.artifacts.base import BlockBytes
from agent.artifacts.file import FileArtifactStore
from agent.artifacts.open import open_artifact_stores
from agent.artifacts.s3.store import S3ArtifactStore
from agent.artifacts.stores import ArtifactStores
from agent.config import plugged
from agent.config.artifact_stores import ArtifactStore
from agent.connectors.base import Connector
from agent.credentials import AwsCredentials
from agent.errors import NotFound, UsageError
from agent.testing.connectors import EmptyConnector

CONNECTORS: dict[str, Connector] = {"ml-s3": EmptyConnector(AwsCredentials)}


def opened(**uris: str) -> ArtifactStores:
    stores = [
        ArtifactStore(name=name, uri=uri, connector="ml-s3" if uri.startswith("s3:") else None)
        for name, uri in uris.items()
    ]
    return open_artifact_stores(stores, CONNECTORS, block_bytes=lambda: 1024)


class TestFinding:
    """By whole segments, the longest root first."""

    @pytest.mark.parametrize(
        ("uri", "name"),
        [
            ("s3://ml/prod", "prod"),
            ("s3://ml/prod/x", "prod"),
            ("s3://ml/prod/eu/x", "eu"),
            ("s3://ml/production/x", "bucket"),
            ("s3://ml", "bucket"),
            ("file:///srv/store/x", "local"),
        ],
    )
    def test_longest_root(self, uri: str, name: str) -> None:
        stores = opened(
            bucket="s3://ml", prod="s3://ml/prod", eu="s3://ml/prod/eu", local="file:///srv/store"
        )

        assert name == stores.find(ArtifactUri.parse(uri)).name

    @pytest.mark.parametrize(
        "uri",
        [
            "s3://acme/zenml-other-tenant/x",
            "s3://acme",
            "s3://acme/payroll/x",
            "s3://acme-evil/zenml/x",
            "S3://ACME/zenml/x",
            "gs://acme/zenml/x",
            "file:///srv/store-evil/x",
            "file:///srv",
            "file:///acme/zenml/x",
        ],
    )
    def test_nothing_beside_a_root(self, uri: str) -> None:
        stores = opened(tenant="s3://acme/zenml", local="file:///srv/store")

        with pytest.raises(NotFound) as refusal:
            stores.find(ArtifactUri.parse(uri))

        assert str(NotFound()) == str(refusal.value), "same text as for a missing object"

    def test_by_name(self) -> None:
        stores = opened(a="s3://ml", b="file:///srv")

        assert stores.by_name("b").type == "file"
        with pytest.raises(NotFound):
            stores.by_name("c")

    async def test_iteration_in_the_order_of_the_configuration(self) -> None:
        stores = opened(a="s3://ml", b="s3://ml/x/y", c="file:///srv")

        assert ["a", "b", "c"] == [store.name for store in stores]
        await stores.close()
        await stores.close()


class TestOpening:
    """What is wrong with the configuration is said before anything is reached."""

    def test_implementation_by_scheme(self) -> None:
        stores = list(opened(a="s3://ml", b="file:///srv"))

        assert [S3ArtifactStore, FileArtifactStore] == [type(store) for store in stores]

    @pytest.mark.parametrize(
        ("uri", "connector", "complaint"),
        [
            ("s3://ml", None, "needs a connector"),
            ("s3://ml", "nobody", "no connector nobody"),
            ("file:///srv", "ml-s3", "takes no connector"),
            ("gopher://ml/x", None, "no scheme gopher://; there are: .*file, .*s3"),
        ],
    )
    def test_mistakes(self, uri: str, connector: str | None, complaint: str) -> None:
        store = ArtifactStore(name="mine", uri=uri, connector=connector)

        with pytest.raises(UsageError, match=f"artifact store mine: .*{complaint}"):
            open_artifact_stores([store], CONNECTORS, block_bytes=lambda: 1024)

    def test_two_of_one_name(self) -> None:
        store = ArtifactStore(name="mine", uri="file:///srv/a")
        other = ArtifactStore(name="mine", uri="file:///srv/b")

        with pytest.raises(UsageError, match="called mine"):
            open_artifact_stores([store, other], {}, block_bytes=lambda: 1024)

    def test_two_of_one_root(self) -> None:
        with pytest.raises(UsageError, match="a and b have the same uri"):
            opened(a="file:///srv/", b="file:///srv")

    def test_scheme_of_another_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        point = EntryPoint("mem", f"{__name__}:third_party", opening.PLUGINS)
        monkeypatch.setattr(EntryPoint, "load", lambda _: third_party)
        monkeypatch.setattr(plugged, "entry_points", lambda group: EntryPoints([point]))

        assert opened(a="mem://x/y").find(ArtifactUri.parse("mem://x/y/z")).name == "plugged"


def third_party(
    store: ArtifactStore, connector: Connector | None, block_bytes: BlockBytes
) -> FileArtifactStore:
    return FileArtifactStore("plugged", store.root, block_bytes=block_bytes)
