"""What Google Cloud Secret Manager is asked for, and what its answers are good for."""

import json
import subprocess
import sys

import pytest

from agent.config.secret_stores import EnvSecretStore, GcpSecretManager
from agent.errors import CredentialUnavailable
from agent.secret_reference import SecretReference
from agent.secrets.open import open_secret_stores
from tests.doubles.gcp import EMAIL, running_google
from tests.doubles.gcp_secret_manager import running_secret_manager


@pytest.fixture
def google():
    with running_google() as google:
        yield google


@pytest.fixture
def manager(google):
    with running_secret_manager(google.whose.get) as manager:
        yield manager


@pytest.fixture
async def connect(google, manager, monkeypatch):
    """Opens a resolver whose store ``it`` has the settings that are given."""
    monkeypatch.setenv("T_JSON", google.service_account())
    opened = []

    def open_(**settings):
        login = {"method": "service-account", "service_account_json": "secret://env/JSON"}
        given = {"endpoint_url": manager.url, "tokeninfo_endpoint_url": google.url, **login}
        stores = {
            "env": EnvSecretStore(type="env", prefix="T_"),
            "it": GcpSecretManager(type="gcp-secret-manager", **given | settings),
        }
        opened.append(open_secret_stores(stores, on_secret=lambda _: None))
        return opened[-1]

    yield open_
    for resolver in opened:
        await resolver.close()


def reference(text):
    return SecretReference.model_validate(SecretReference.parse(f"secret://it/{text}"))


async def read(resolver, text):
    return (await resolver.resolve(reference(text))).reveal()


async def test_fields_versions_and_aliases_are_read(connect, manager):
    manager.put("ml", json.dumps({"key": "old"}).encode())
    manager.put("ml", json.dumps({"key": "new"}).encode())
    manager.aliases["prod"] = 1
    resolver = connect()

    assert "new" == await read(resolver, "ml#key")
    assert "old" == await read(resolver, "ml?version=1#key")
    assert "old" == await read(resolver, "ml?version=prod#key")
    assert '{"key": "new"}' == await read(resolver, "ml")


async def test_a_path_may_name_another_project(connect, manager):
    manager.put("ml", b"theirs", project="other")

    assert "theirs" == await read(connect(), "projects/other/secrets/ml")


async def test_a_prefix_stands_before_every_path(connect, manager):
    manager.put("zenml-1", b"value")

    assert "value" == await read(connect(prefix="zenml-"), "1")


@pytest.mark.parametrize("path", ["a/b", "a%2Fb", "projects/p/secrets/a/versions/1", "x:destroy"])
async def test_a_path_that_would_lead_elsewhere_is_refused(connect, manager, path):
    with pytest.raises(CredentialUnavailable) as failure:
        await read(connect(), path)

    assert "is no name of a secret" in failure.value.detail
    assert [] == manager.requests


async def test_a_secret_that_came_damaged_is_not_used(connect, manager):
    manager.put("ml", b"value")
    manager.damaged = True

    with pytest.raises(CredentialUnavailable) as failure:
        await read(connect(), "ml")

    assert "crc32c" in failure.value.detail


async def test_bytes_that_are_no_text_are_refused(connect, manager):
    manager.put("ml", b"\xff\xfe")

    with pytest.raises(CredentialUnavailable) as failure:
        await read(connect(), "ml")

    assert "the secret is no text" == failure.value.detail


async def test_a_token_that_was_revoked_is_replaced_once(connect, google, manager):
    manager.put("ml", b"value")
    resolver = connect()
    await read(resolver, "ml")
    google.whose.clear()
    resolver.invalidate(reference("ml"))

    assert "value" == await read(resolver, "ml")
    assert 3 == len(manager.requests)


@pytest.mark.parametrize(
    ("what", "detail"),
    [
        ("forbidden", "Secret Manager, asked for 'ml': Google answered 403 PERMISSION_DENIED"),
        ("disabled", "Secret Manager, asked for 'ml': Google answered 400 FAILED_PRECONDITION"),
        ("missing", "Secret Manager has no secret 'ml': Google answered 404 NOT_FOUND"),
    ],
)
async def test_a_refusal_names_googles_word_and_nothing_it_quotes(connect, manager, what, detail):
    if what != "missing":
        manager.put("ml", b"value")
        manager.forbidden = {"ml"} if what == "forbidden" else set()
        manager.disabled = {"latest"} if what == "disabled" else set()

    with pytest.raises(CredentialUnavailable) as failure:
        await read(connect(), "ml")

    assert detail == failure.value.detail


async def test_a_service_that_fails_for_a_moment_is_asked_again(connect, manager):
    manager.put("ml", b"value")
    manager.failures = [503, 503]

    assert "value" == await read(connect(), "ml")


async def test_a_redirect_is_no_empty_secret(connect, manager):
    manager.location = manager.url

    with pytest.raises(CredentialUnavailable) as failure:
        await read(connect(), "ml")

    assert "Google answered 302" in failure.value.detail
    assert 3 == len(manager.requests)


async def test_check_says_who_we_are_and_what_it_could_not_prove(connect, manager):
    assert f"Secret Manager answers {EMAIL}, until 20" in await connect().check("it")

    manager.forbidden = {"cloud-agent-check"}
    assert "but not every secret may be read" in await connect().check("it")


async def test_check_fails_where_the_token_is_not_taken(connect, manager):
    manager.known = lambda token: False

    with pytest.raises(CredentialUnavailable) as failure:
        await connect().check("it")

    assert "Secret Manager: Google answered 401 UNAUTHENTICATED" == failure.value.detail


async def test_a_login_without_a_project_is_told_so(connect, google, monkeypatch):
    monkeypatch.setenv("T_JSON", google.service_account(project_id=None))

    with pytest.raises(CredentialUnavailable) as failure:
        await read(connect(), "ml")

    assert "set project_id" in failure.value.detail


async def test_googles_own_logs_show_no_secret(google, manager):
    """Its library writes whole answers to standard error where a variable says so."""
    manager.put("ml", b"hidden-value")
    program = """
import asyncio, sys
from agent.config.secret_stores import EnvSecretStore, GcpSecretManager
from agent.secret_reference import SecretReference
from agent.secrets.open import open_secret_stores
from agent.telemetry.logs import configure
configure(level="debug", format="json", redact=lambda text: text)
it = GcpSecretManager(
    type="gcp-secret-manager", method="oauth2-token", token="secret://env/TOKEN",
    project_id="test-project", endpoint_url=sys.argv[1],
)
stores = {"env": EnvSecretStore(type="env"), "it": it}
resolver = open_secret_stores(stores, on_secret=lambda secret: None)
secret = asyncio.run(resolver.resolve(SecretReference(store="it", path="ml")))
print(len(secret.reveal()))
"""
    token = google.given()
    ran = subprocess.run(
        [sys.executable, "-c", program, manager.url],
        capture_output=True,
        text=True,
        check=True,
        env={"GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google", "TOKEN": token},
    )

    assert "12" == ran.stdout.strip()
    assert token not in ran.stderr
    assert "hidden-value" not in ran.stderr
    assert "aGlkZGVu" not in ran.stderr
