"""What every secret store promises, asked of each of them against the real thing."""

import uuid

import pytest

from agent.config.secret_stores import EnvSecretStore, FileSecretStore, VaultSecretStore
from agent.secrets.open import open_secret_stores
from agent.testing.secret_stores import VALUE, Case, SecretStoreContract
from tests.servers.openbao import ROOT_TOKEN, start_openbao


@pytest.fixture(scope="session")
def vault(tmp_path_factory):
    server = start_openbao(tmp_path_factory.mktemp("openbao"))
    client = server.client()
    client.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
    yield client, server.address
    client.adapter.close()
    server.stop()


class TestSecretStore(SecretStoreContract):
    """Vault, files and the environment."""


@pytest.fixture(params=["vault-kv1", "vault-kv2", "file", "env"])
async def case(request, tmp_path, monkeypatch):
    version = None
    if request.param.startswith("vault"):
        client, address = request.getfixturevalue("vault")
        monkeypatch.setenv("VAULT_TOKEN", ROOT_TOKEN)
        configured, path, put, version = _vault(request.param, client, address)
    elif request.param == "file":
        configured, path = FileSecretStore(type="file", root=tmp_path), "s3"
        put = lambda value: (tmp_path / "s3").write_text(f'{{"key": "{value}"}}')  # noqa: E731
    else:
        configured, path = EnvSecretStore(type="env", prefix="ML_"), "S3"
        put = lambda value: monkeypatch.setenv("ML_S3", f'{{"key": "{value}"}}')  # noqa: E731
    resolver = open_secret_stores({"it": configured}, on_secret=lambda _: None)
    put(VALUE)
    yield Case(resolver._stores["it"].store, path, put, hidden=[ROOT_TOKEN], version=version)
    await resolver.close()


def _vault(kind, client, address):
    path, old = f"ml/{uuid.uuid4()}", kind == "vault-kv1"
    mount = "kv1" if old else "secret"
    kv = client.secrets.kv.v1 if old else client.secrets.kv.v2

    def put(value: str) -> None:
        kv.create_or_update_secret(path, {"key": value}, mount_point=mount)

    def version() -> str:
        metadata = kv.read_secret_metadata(path, mount_point=mount)
        return str(metadata["data"]["current_version"])

    auth = {"method": "token"}
    configured = VaultSecretStore(type="vault", address=address, mount=mount, auth=auth)
    return configured, path, put, None if old else version
