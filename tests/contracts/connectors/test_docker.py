"""What every connector promises, asked of the login to a real registry of images."""

import asyncio

import pytest
import requests

from agent.config.connectors import DockerConnector
from agent.config.secret_stores import FileSecretStore
from agent.connectors.open import open_connectors
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable
from agent.secrets.open import open_secret_stores
from agent.testing.connectors import Case, ConnectorContract
from tests.servers.processes import free_port
from tests.servers.registry import (
    PASSWORD,
    USER,
    registry_for_anybody,
    registry_with_passwords,
    registry_with_tokens,
)

KINDS = {"passwords": registry_with_passwords, "tokens": registry_with_tokens}


@pytest.fixture(scope="module", params=KINDS)
def registry(request, certificate_authority, tmp_path_factory):
    directory = tmp_path_factory.mktemp(f"registry-{request.param}")
    with KINDS[request.param](certificate_authority, directory) as host:
        yield host


@pytest.fixture
async def secrets(tmp_path):
    seen = []
    (tmp_path / "username").write_text(USER)
    (tmp_path / "password").write_text(PASSWORD)
    resolver = open_secret_stores(
        {"files": FileSecretStore(type="file", root=tmp_path, cache="1h")}, on_secret=seen.append
    )
    resolver.seen = seen
    yield resolver
    await resolver.close()


@pytest.fixture
async def connect(secrets, certificate_authority):
    """Opens the connector to a registry."""
    opened = []

    def open_(address, **options):
        configured = DockerConnector(
            type="docker",
            registry=address,
            username="secret://files/username",
            password="secret://files/password",
            **{"ca_file": certificate_authority.ca_file, **options},
        )
        opened.extend(open_connectors({"it": configured}, secrets).values())
        return opened[-1]

    yield open_
    for connector in opened:
        await connector.close()


class TestDocker(ConnectorContract):
    """A registry that takes the password itself, and one that sends for a token."""

    @pytest.fixture
    def case(self, registry, connect, secrets, certificate_authority):
        async def use(credentials):
            await asyncio.to_thread(_log_in, registry, credentials, certificate_authority.ca_file)

        return Case(connect(registry), use, secrets.seen, USER)


def _log_in(registry, credentials, ca_file):
    """Do what `docker login` does."""
    pair = (credentials.username.reveal(), credentials.password.reveal())
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(ca_file)
        first = session.get(f"https://{registry}/v2/")
        challenge = first.headers["www-authenticate"]
        if challenge.startswith("Bearer"):
            realm = challenge.partition('realm="')[2].partition('"')[0]
            answer = session.get(realm, params={"service": "test-registry"}, auth=pair)
            header = {"Authorization": f"Bearer {answer.json()['token']}"}
            last = session.get(f"https://{registry}/v2/", headers=header)
        else:
            last = session.get(f"https://{registry}/v2/", auth=pair)
    assert 200 == last.status_code


async def test_a_wrong_password_is_refused_by_name(registry, connect, tmp_path):
    (tmp_path / "password").write_text("not-the-right-one")

    with pytest.raises(AccessDenied) as failure:
        await connect(f"https://{registry}").identity()

    assert "answered 401" in failure.value.detail
    assert "not-the-right-one" not in failure.value.detail


async def test_a_password_that_was_rotated_is_read_again(registry, connect, tmp_path):
    (tmp_path / "password").write_text("not-the-right-one")
    connector = connect(registry)
    await connector.credentials()

    (tmp_path / "password").write_text(PASSWORD)

    assert USER == (await connector.identity()).name


async def test_a_token_is_known_to_the_redactor(
    connect, secrets, certificate_authority, tmp_path_factory
):
    directory = tmp_path_factory.mktemp("registry")
    with registry_with_tokens(certificate_authority, directory) as host:
        await connect(host).identity()

    assert any(secret.reveal().startswith("eyJ") for secret in secrets.seen)


async def test_a_registry_for_anybody_proves_nothing(
    connect, certificate_authority, tmp_path_factory
):
    directory = tmp_path_factory.mktemp("registry")
    with registry_for_anybody(certificate_authority, directory) as host:
        with pytest.raises(CredentialUnavailable) as failure:
            await connect(host).identity()

    assert "lets anybody in" in failure.value.detail


async def test_a_registry_that_is_down_or_a_stranger_gets_no_password(registry, connect):
    with pytest.raises(StoreUnavailable):
        await connect(f"127.0.0.1:{free_port()}").identity()
    with pytest.raises(StoreUnavailable) as failure:
        await connect(registry, ca_file=None).identity()
    assert PASSWORD not in failure.value.detail
