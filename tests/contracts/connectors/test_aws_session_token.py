"""GetSessionToken, which no server at hand answers, on a double of STS."""

from collections.abc import AsyncIterator

import pytest

from agent.clouds.aws.sts import Endpoint, Sts
from agent.config.connectors import AwsConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.secret import Secret
from agent.secrets.open import open_secret_stores
from agent.testing.connectors import Case, ConnectorContract
from tests.doubles.sts import running_sts


class TestSessionToken(ConnectorContract):
    @pytest.fixture
    async def case(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Case]:
        seen: list[Secret] = []
        stores = {"env": EnvSecretStore(type="env", prefix="T_")}
        secrets = open_secret_stores(stores, on_secret=seen.append)
        with running_sts() as sts:
            monkeypatch.setenv("T_ID", sts.key_id)
            monkeypatch.setenv("T_KEY", "any")
            settings = AwsConnector(
                type="aws",
                method="session-token",
                endpoint_url=sts.endpoint_url,
                access_key_id="secret://env/ID",
                secret_access_key="secret://env/KEY",
            )
            connector = open_connectors({"it": settings}, secrets)["it"]
            use = Sts(Endpoint(url=sts.endpoint_url)).caller
            yield Case(connector, use, seen, "arn:aws:sts")
            await connector.close()
        await secrets.close()
