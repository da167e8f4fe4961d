"""A real ZenML server, and what a real pipeline run left in it."""

from collections.abc import AsyncIterator

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.zenml.store import ZenmlArtifactStore
from agent.config.connectors import ZenmlConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.credentials import HttpCredentials
from agent.secret import Secret
from agent.secrets.open import open_secret_stores
from agent.testing.catalogs import Case, CatalogContract
from agent.testing.connectors import EmptyConnector, GivenConnector
from tests.artifacts.places import closed_port
from tests.servers.zenml import Zenml

ROOT = ArtifactUri.parse("zenml://prod")
MISSING = "00000000-0000-4000-8000-000000000001"


def below(*names: str) -> ArtifactUri:
    return ArtifactUri(ROOT.scheme, ROOT.bucket, names)


class TestZenml(CatalogContract):
    @pytest.fixture
    async def case(self, zenml: Zenml, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
        monkeypatch.setenv("T_KEY", zenml.api_key.reveal())
        stores = {"env": EnvSecretStore(type="env", prefix="T_")}
        secrets = open_secret_stores(stores, on_secret=lambda _: None)
        settings = ZenmlConnector(type="zenml", endpoint_url=zenml.url, api_key="secret://env/KEY")
        connector = open_connectors({"it": settings}, secrets)["it"]
        version = zenml.versions["story::make_frame::output"]
        answer = zenml.session().get(f"{zenml.url}/api/v1/artifact_versions/{version}").json()
        wrong = HttpCredentials(Secret("Bearer not-a-token"), zenml.url)
        nowhere = HttpCredentials(None, f"http://127.0.0.1:{closed_port()}")
        yield Case(
            store=ZenmlArtifactStore("prod", ROOT, connector),
            root=ROOT,
            known=below(version),
            place=ArtifactUri.parse(answer["body"]["uri"]),
            missing=below(MISSING),
            refused=ZenmlArtifactStore("prod", ROOT, GivenConnector(wrong)),
            unreachable=ZenmlArtifactStore("prod", ROOT, GivenConnector(nowhere)),
            without_credentials=ZenmlArtifactStore("prod", ROOT, EmptyConnector(HttpCredentials)),
        )
        await connector.close()
        await secrets.close()
