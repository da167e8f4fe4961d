"""What is sent to something that is not, or no longer, a healthy Vault."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent.errors import CredentialUnavailable
from agent.secrets.vault.userpass import UserpassLogin
from tests.servers.openbao import ROOT_TOKEN


class Scripted:
    """Answers every request alike, and remembers what came."""

    ca_file = None

    def __init__(self, address: str) -> None:
        self.address = address
        self.status = 200
        self.headers = {"Content-Type": "application/json"}
        self.body = json.dumps({"data": {"ttl": 0, "renewable": False}})
        self.paths: list[str] = []
        self.namespaces: list[str | None] = []


@contextmanager
def _running():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.paths.append(self.path)
            server.namespaces.append(self.headers.get("X-Vault-Namespace"))
            self.send_response(server.status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body.encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Scripted(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield server
        http.shutdown()
        thread.join()


@pytest.fixture
def scripted():
    with _running() as server:
        yield server


async def _failure(store) -> str:
    with pytest.raises(CredentialUnavailable) as failure:
        await store.read("ml/s3")
    assert ROOT_TOKEN not in failure.value.detail
    return failure.value.detail


async def test_a_redirect_is_not_followed_with_the_token(open_store, scripted):
    with _running() as elsewhere:
        scripted.status = 307
        scripted.headers["Location"] = f"{elsewhere.address}/v1/auth/token/lookup-self"

        assert "answered 307" in await _failure(open_store(server=scripted))

        assert [] == elsewhere.paths


async def test_a_server_that_fails_is_asked_four_times(open_store, scripted):
    scripted.status, scripted.body = 503, json.dumps({"errors": ["Vault is sealed"]})

    assert "Vault is sealed" in await _failure(open_store(server=scripted))

    assert 4 == len(scripted.paths)


@pytest.mark.parametrize(
    "body", ["<html>welcome</html>", "[]", "{}", '{"data": null}', '{"data": {"data": "text"}}']
)
async def test_an_answer_that_is_not_vaults_is_unavailable_at_once(open_store, scripted, body):
    scripted.body = body

    assert "welcome" not in await _failure(open_store(server=scripted, engine="kv2"))

    assert 1 == len(scripted.paths)


async def test_the_shape_of_a_secret_is_checked_after_the_login(open_store, scripted):
    scripted.body = json.dumps({"data": {"ttl": 0, "data": ["not", "fields"]}})

    assert "lacks the object data.data" in await _failure(open_store(server=scripted, engine="kv2"))


async def test_a_token_stands_in_no_url(open_store, scripted):
    await _failure(open_store(server=scripted, engine="kv2"))

    assert scripted.paths
    assert not any(ROOT_TOKEN in path for path in scripted.paths)


async def test_a_login_that_wants_a_second_factor_is_told(open_store, scripted, tmp_path):
    """Then Vault answers with an empty token and a question that only a person can answer."""
    (tmp_path / "password").write_text("of-the-test")
    scripted.body = json.dumps({"auth": {"client_token": "", "mfa_requirement": {}}})
    login = UserpassLogin(
        "agent", password_file=tmp_path / "password", mount="userpass", on_secret=lambda _: None
    )

    assert "a login with MFA is not for agents" in await _failure(
        open_store(login, server=scripted)
    )

    assert ["/v1/auth/userpass/login/agent"] == scripted.paths


async def test_the_namespace_is_named_with_every_request(open_store, scripted, tmp_path):
    """With the login, too, where a role exists in the namespace and nowhere else."""
    (tmp_path / "password").write_text("of-the-test")
    auth = {"client_token": "issued", "lease_duration": 60}
    scripted.body = json.dumps({"auth": auth, "data": {"data": {"key": "first"}}})
    login = UserpassLogin(
        "agent", password_file=tmp_path / "password", mount="userpass", on_secret=lambda _: None
    )
    store = open_store(login, server=scripted, engine="kv2", namespace="team/ml")

    await store.read("ml/s3")
    await store.close()

    assert 3 == len(scripted.paths)
    assert {"team/ml"} == set(scripted.namespaces)
