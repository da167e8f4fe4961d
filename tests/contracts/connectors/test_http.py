"""What every connector promises, asked of each method against a server that checks the header."""

import asyncio
import json
import ssl
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from agent.config.connectors import HttpConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.http import HttpLogin
from agent.connectors.open import open_connectors
from agent.credentials import HttpCredentials, Identity
from agent.errors import CredentialUnavailable
from agent.http_session import HttpSession
from agent.secret import Secret
from agent.secrets.open import open_secret_stores
from agent.secrets.resolver import SecretResolver
from agent.testing.connectors import Case, ConnectorContract
from tests.artifacts.places import closed_port
from tests.doubles.http_service import http_service
from tests.doubles.oauth import AuthorizationServer
from tests.servers.tls import CertificateAuthority

SECRETS = {"TOKEN": "of-the-test", "USER": "mina", "PASSWORD": "pass wörd:", "SECRET": "clïent=+"}
METHODS = {
    "none": ({}, "nobody"),
    "token": ({"token": "secret://env/TOKEN"}, "a token"),
    "basic": ({"username": "secret://env/USER", "password": "secret://env/PASSWORD"}, "mina"),
    "client-credentials": (
        {"client_id": "agent/7", "client_secret": "secret://env/SECRET", "scope": "read"},
        "agent/7",
    ),
}
HEADERS = {
    None,
    "Bearer of-the-test",
    f"Basic {b64encode('mina:pass wörd:'.encode()).decode()}",
}

Connect = Callable[..., HttpLogin]


class Resolver:
    """Secrets of the environment, and what the redactor would have heard of."""

    def __init__(self) -> None:
        self.seen: list[Secret] = []
        stores = {"env": EnvSecretStore(type="env", prefix="T_")}
        self.secrets: SecretResolver = open_secret_stores(stores, on_secret=self.seen.append)


@pytest.fixture
def server() -> AuthorizationServer:
    server = AuthorizationServer("agent/7", SECRETS["SECRET"])
    server.accepted = set(HEADERS)
    return server


@pytest.fixture
async def url(server: AuthorizationServer) -> AsyncIterator[str]:
    async with http_service(server.answer) as url:
        yield url


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Resolver]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(f"T_{name}", value)
    resolver = Resolver()
    yield resolver
    await resolver.secrets.close()


@pytest.fixture
async def connect(url: str, resolver: Resolver) -> AsyncIterator[Connect]:
    """Opens a connector by its method."""
    opened = []

    def open_(method: str, **options: object) -> HttpLogin:
        token_url = f"{url}/token" if method == "client-credentials" else None
        given = METHODS[method][0] | {"token_url": token_url, "endpoint_url": url} | options
        settings = HttpConnector(type="http", method=method, **given)
        opened.extend(open_connectors({"it": settings}, resolver.secrets).values())
        return opened[-1]

    yield open_
    for connector in opened:
        await connector.close()


async def use(credentials: HttpCredentials) -> None:
    """Raise unless the service takes the header."""
    await asyncio.to_thread(_get, credentials)


def _get(credentials: HttpCredentials) -> None:
    header = credentials.authorization
    with HttpSession() as session:
        headers = {} if header is None else {"Authorization": header.reveal()}
        session.get(credentials.endpoint_url, headers=headers).raise_for_status()


def jwt(claims: object) -> str:
    """Return a token with *claims* that nobody has signed."""
    payload = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


class TestHttp(ConnectorContract):
    """Each method."""

    @pytest.fixture(params=METHODS)
    def case(self, request: pytest.FixtureRequest, connect: Connect, resolver: Resolver) -> Case:
        return Case(connect(request.param), use, resolver.seen, METHODS[request.param][1])


class TestClientCredentials:
    """Tokens of an authorization server, which is asked as seldom as can be."""

    async def test_the_secret_goes_into_a_header_only(
        self, connect: Connect, server: AuthorizationServer
    ) -> None:
        await connect("client-credentials", audience="lab").credentials()

        asked = {"grant_type": "client_credentials", "scope": "read", "audience": "lab"}
        assert [asked] == server.requests

    async def test_a_rotated_secret_is_read_again_once(
        self, connect: Connect, server: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connector = connect("client-credentials")
        connector.invalidate(await connector.credentials())
        server.secret = "the-next-one"
        monkeypatch.setenv("T_SECRET", "the-next-one")

        await use(await connector.credentials())

    async def test_a_wrong_secret_is_not_quoted(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("T_SECRET", "not-the-right-one")

        with pytest.raises(CredentialUnavailable) as failure:
            await connect("client-credentials").identity()

        assert f"token_url {url}/token answered 401 invalid_client" == failure.value.detail
        assert failure.value.__cause__ is None

    @pytest.mark.parametrize(
        ("life", "seconds"), [(None, 600), ("3600", 3600), (-1, 600), ("soon", 600), (1e12, 600)]
    )
    async def test_a_life_that_is_not_said_is_assumed(
        self, connect: Connect, server: AuthorizationServer, life: object, seconds: float
    ) -> None:
        """And the token kept meanwhile."""
        server.life = life
        connector = connect("client-credentials")

        expires_at = (await connector.credentials()).expires_at
        await connector.credentials()

        assert 1 == len(server.requests)
        assert abs(expires_at - datetime.now(UTC) - timedelta(seconds=seconds)).seconds < 30

    async def test_a_server_that_fails_is_asked_again(
        self, connect: Connect, server: AuthorizationServer
    ) -> None:
        server.failures = [web.Response(status=503), web.Response(status=429)]

        await use(await connect("client-credentials").credentials())

        assert 3 == len(server.requests)

    async def test_a_server_that_is_down_is_named(self, connect: Connect) -> None:
        nowhere = f"http://127.0.0.1:{closed_port()}/token"

        with pytest.raises(CredentialUnavailable) as failure:
            await connect("client-credentials", token_url=nowhere).credentials()

        why = "did not answer: ConnectionRefusedError: Connection refused"
        assert f"token_url {nowhere} {why}" == failure.value.detail

    async def test_no_redirect_gets_the_secret(
        self, connect: Connect, server: AuthorizationServer
    ) -> None:
        async with http_service(server.answer) as other:
            moved = {"Location": f"{other}/token"}
            server.failures = [web.Response(status=307, headers=moved)]

            with pytest.raises(CredentialUnavailable, match="credential"):
                await connect("client-credentials").credentials()

        assert 1 == len(server.requests)

    @pytest.mark.parametrize(
        "answer",
        [
            {"text": "<html>"},
            {"text": "[]"},
            {"text": "{}"},
            {"text": '{"access_token": 7}'},
            {"text": '{"access_token": ""}'},
            {"text": '{"access_token": "a\\nb"}'},
            {"text": '{"access_token": "abc", "token_type": "mac"}'},
            {"text": "[" * 100_000},
        ],
    )
    async def test_an_answer_without_a_bearer_token_is_none(
        self, connect: Connect, server: AuthorizationServer, answer: dict[str, str]
    ) -> None:
        server.failures = [web.Response(**answer) for _ in range(3)]

        with pytest.raises(CredentialUnavailable):
            await connect("client-credentials").credentials()

    async def test_a_private_ca_is_trusted_where_it_is_named(
        self,
        connect: Connect,
        server: AuthorizationServer,
        certificate_authority: CertificateAuthority,
    ) -> None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*certificate_authority.issue("issuer"))
        async with http_service(server.answer, tls=tls) as url:
            trusting = {"token_url": f"{url}/token", "ca_file": certificate_authority.ca_file}
            await connect("client-credentials", **trusting).credentials()

            with pytest.raises(CredentialUnavailable) as failure:
                await connect("client-credentials", token_url=f"{url}/token").credentials()

        assert "SSLCertVerificationError" in failure.value.detail


class TestToken:
    """What stands in a secret store is sent as it is, or not at all."""

    async def test_a_newline_at_its_end_is_said(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("T_TOKEN", "of-the-test\r\nX-Other: 1")

        with pytest.raises(CredentialUnavailable) as failure:
            await connect("token").credentials()

        assert "the token has characters that no header can hold" == failure.value.detail

    async def test_the_claims_of_a_jwt_are_shown_as_claims(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("T_TOKEN", jwt({"sub": "mina", "exp": 2_000_000_000}))

        identity = await connect("token").identity()

        end = datetime.fromtimestamp(2_000_000_000, UTC)
        assert Identity("mina, as its token says", end) == identity

    @pytest.mark.parametrize(
        "token",
        [
            "a.b.c",
            "a.!.c",
            jwt([]),
            jwt({"sub": 7, "exp": "soon"}),
            jwt({"sub": "a\nb", "exp": 1e300}),
            jwt({"sub": "", "exp": True}),
        ],
    )
    async def test_other_claims_are_passed_over(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch, token: str
    ) -> None:
        monkeypatch.setenv("T_TOKEN", token)

        assert Identity("a token") == await connect("token").identity()


async def test_a_user_with_a_colon_fits_no_header(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T_USER", "mina:lab")

    with pytest.raises(CredentialUnavailable):
        await connect("basic").credentials()
