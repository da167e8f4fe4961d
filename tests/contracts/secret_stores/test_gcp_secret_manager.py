"""Google Cloud Secret Manager as it is on the wire; there is no server of it to run."""

import json

import pytest

from agent.config.secret_stores import EnvSecretStore, GcpSecretManager
from agent.secrets.open import open_secret_stores
from agent.testing.secret_stores import VALUE, Case, SecretStoreContract
from tests.artifacts.places import closed_port
from tests.doubles.gcp import private_key, running_google
from tests.doubles.gcp_secret_manager import running_secret_manager

WRONG = "not-a-token-of-google"


class TestGcpSecretManager(SecretStoreContract):
    """A service account reads it."""


@pytest.fixture
async def case(monkeypatch):
    with running_google() as google, running_secret_manager(google.whose.get) as manager:
        monkeypatch.setenv("T_JSON", google.service_account())
        monkeypatch.setenv("T_WRONG", WRONG)
        given = {"type": "gcp-secret-manager", "tokeninfo_endpoint_url": google.url}
        key = {"method": "service-account", "service_account_json": "secret://env/JSON"}
        wrong = {"method": "oauth2-token", "token": "secret://env/WRONG", "project_id": "p"}
        nowhere = f"http://127.0.0.1:{closed_port()}"
        stores = {
            "env": EnvSecretStore(type="env", prefix="T_"),
            "it": GcpSecretManager(**given, **key, endpoint_url=manager.url),
            "unreachable": GcpSecretManager(**given, **key, endpoint_url=nowhere),
            "refused": GcpSecretManager(**given, **wrong, endpoint_url=manager.url),
        }
        resolver = open_secret_stores(stores, on_secret=lambda _: None)

        def put(value: str) -> None:
            manager.put("ml-s3", json.dumps({"key": value}).encode())

        put(VALUE)
        yield Case(
            resolver._stores["it"].store,
            "ml-s3",
            put,
            hidden=[WRONG, private_key(), "issued-token"],
            unreachable=resolver._stores["unreachable"].store,
            refused=resolver._stores["refused"].store,
            version=lambda: "1",
        )
        await resolver.close()
