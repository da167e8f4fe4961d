"""Each way to log in to a real ZenML server."""

import pytest
import requests

from agent.config.connectors import ZenmlConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.base import Connector
from agent.connectors.open import open_connectors
from agent.credentials import HttpCredentials
from agent.errors import AccessDenied, CredentialUnavailable
from agent.secret import Secret
from agent.secrets.open import open_secret_stores
from agent.testing.connectors import Case, ConnectorContract
from tests.artifacts.places import closed_port
from tests.servers.zenml import USER, Zenml

METHODS = {
    "api-key": {"api_key": "secret://env/KEY"},
    "password": {"username": "secret://env/USER", "password": "secret://env/PASSWORD"},
    "token": {"token": "secret://env/TOKEN"},
}


async def use(credentials: HttpCredentials) -> None:
    header = {"Authorization": credentials.authorization.reveal()}
    answer = requests.get(f"{credentials.endpoint_url}/api/v1/current-user", headers=header)
    answer.raise_for_status()


@pytest.fixture
async def connect(zenml: Zenml, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("T_KEY", zenml.api_key.reveal())
    monkeypatch.setenv("T_USER", USER)
    monkeypatch.setenv("T_PASSWORD", zenml.password.reveal())
    monkeypatch.setenv("T_TOKEN", zenml.session().headers["Authorization"].removeprefix("Bearer "))
    seen: list[Secret] = []
    stores = {"env": EnvSecretStore(type="env", prefix="T_")}
    secrets = open_secret_stores(stores, on_secret=seen.append)
    opened: list[Connector] = []

    def open_(method: str, url: str = zenml.url, **options: object) -> Connector:
        settings = ZenmlConnector(
            type="zenml", endpoint_url=url, method=method, **METHODS[method], **options
        )
        opened.append(open_connectors({"it": settings}, secrets)["it"])
        return opened[-1]

    open_.seen = seen
    yield open_
    for connector in opened:
        await connector.close()
    await secrets.close()


class TestZenml(ConnectorContract):
    @pytest.fixture(params=METHODS)
    async def case(self, request: pytest.FixtureRequest, connect) -> Case:
        who = USER if request.param != "api-key" else "agent"
        return Case(connect(request.param), use, connect.seen, who)


@pytest.mark.parametrize("method", ["api-key", "password"])
async def test_a_wrong_login_is_unavailable(connect, method, monkeypatch):
    monkeypatch.setenv("T_KEY", "ZENKEY_bm90IGEga2V5")
    monkeypatch.setenv("T_PASSWORD", "not-the-right-one")

    with pytest.raises(CredentialUnavailable) as failure:
        await connect(method).credentials()

    assert "the service answered 401" in failure.value.detail


async def test_a_token_that_is_refused_is_denied(connect, monkeypatch):
    monkeypatch.setenv("T_TOKEN", "not-a-token")

    with pytest.raises(AccessDenied):
        await connect("token").identity()


async def test_a_server_that_is_down_is_named(connect):
    with pytest.raises(CredentialUnavailable) as failure:
        await connect("api-key", f"http://127.0.0.1:{closed_port()}").credentials()

    assert "no answer" in failure.value.detail


async def test_a_ca_that_is_not_there_is_named(connect, tmp_path):
    with pytest.raises(CredentialUnavailable) as failure:
        await connect("api-key", ca_file=tmp_path / "no-ca.pem").credentials()

    assert f"{tmp_path / 'no-ca.pem'}: No such file or directory" in failure.value.detail


async def test_a_rotated_key_is_used_after_the_refusal(connect, zenml, monkeypatch):
    monkeypatch.setenv("T_TOKEN", "expired-by-now")
    connector = connect("token")
    refused = await connector.credentials()
    token = zenml.session().headers["Authorization"].removeprefix("Bearer ")

    monkeypatch.setenv("T_TOKEN", token)
    connector.invalidate(refused)

    await use(await connector.credentials())
