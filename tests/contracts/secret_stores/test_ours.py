"""What every secret store promises, asked of each of them against the real thing."""

import uuid

import pytest

from agent.config.secret_stores import EnvSecretStore, FileSecretStore, VaultSecretStore
from agent.secrets.open import open_secret_stores
from agent.testing.secret_stores import VALUE, Case, SecretStoreContract
from tests.servers.openbao import ROOT_TOKEN, start_openbao
from tests.servers.processes import free_port
from tests.servers.vault import METHODS, WRONG


@pytest.fixture(scope="session")
def openbao(tmp_path_factory):
    server = start_openbao(tmp_path_factory.mktemp("openbao"))
    client = server.client()
    client.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
    yield client, server.address
    client.adapter.close()
    server.stop()


class TestSecretStore(SecretStoreContract):
    """Vault by each engine and each login, files and the environment."""


@pytest.fixture(params=["vault-kv1", "vault-kv2", *METHODS, "file", "env"])
async def case(request, tmp_path, monkeypatch):
    if request.param in METHODS:
        made = _vault_case(request.param, request.getfixturevalue("vault"))
    elif request.param.startswith("vault"):
        monkeypatch.setenv("VAULT_TOKEN", ROOT_TOKEN)
        made = _engine_case(request.param, *request.getfixturevalue("openbao"))
    elif request.param == "file":
        put = lambda value: (tmp_path / "s3").write_text(f'{{"key": "{value}"}}')  # noqa: E731
        made = Case(_open(FileSecretStore(type="file", root=tmp_path)), "s3", put)
    else:
        put = lambda value: monkeypatch.setenv("ML_S3", f'{{"key": "{value}"}}')  # noqa: E731
        made = Case(_open(EnvSecretStore(type="env", prefix="ML_")), "S3", put)
    made.put(VALUE)
    yield made
    for store in (made.store, made.unreachable, made.refused):
        if store is not None:
            await store.close()


def _open(settings):
    resolver = open_secret_stores({"it": settings}, on_secret=lambda _: None)
    return resolver._stores["it"].store


def _engine_case(kind, client, address):
    """A store of either version of the KV engine, by token, and one where nobody listens."""
    path, old = f"ml/{uuid.uuid4()}", kind == "vault-kv1"
    mount = "kv1" if old else "secret"
    kv = client.secrets.kv.v1 if old else client.secrets.kv.v2

    def put(value: str) -> None:
        kv.create_or_update_secret(path, {"key": value}, mount_point=mount)

    def version() -> str:
        metadata = kv.read_secret_metadata(path, mount_point=mount)
        return str(metadata["data"]["current_version"])

    def store(address):
        auth = {"method": "token"}
        return _open(VaultSecretStore(type="vault", address=address, mount=mount, auth=auth))

    return Case(
        store(address),
        path,
        put,
        hidden=[ROOT_TOKEN],
        unreachable=store(f"http://127.0.0.1:{free_port()}"),
        version=None if old else version,
    )


def _vault_case(method, vault):
    """A store by one of the logins, and one whose login is refused."""
    name = str(uuid.uuid4())

    def version() -> str:
        metadata = vault.admin.secrets.kv.v2.read_secret_metadata(f"ml/{name}")
        return str(metadata["data"]["current_version"])

    def store(*, wrong: bool):
        auth = vault.auth(method, wrong=wrong)
        files = [auth[key] for key in auth if key.endswith("_file") and key != "cert_file"]
        server = {"address": vault.server.address, "ca_file": vault.server.ca_file}
        settings = VaultSecretStore(type="vault", auth=auth, **server)
        return _open(settings), [file.read_text().strip() for file in files]

    (right, hidden), (refused, also_hidden) = store(wrong=False), store(wrong=True)
    return Case(
        right,
        f"ml/{name}",
        lambda value: vault.put(name, value),
        hidden=[*hidden, *also_hidden, WRONG],
        refused=refused,
        version=version,
    )
