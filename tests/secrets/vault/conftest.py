"""A running OpenBao, roles in it, and stores that read it."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.config import secret_stores as config
from agent.secrets.open import open_secret_stores
from agent.secrets.vault.approle import AppRoleLogin
from agent.secrets.vault.secret_id import PlainSecretId
from agent.secrets.vault.server import VaultServer
from agent.secrets.vault.store import VaultSecretStore
from agent.secrets.vault.token import TokenLogin
from tests.doubles.rabbitmq import running_rabbitmq
from tests.servers.openbao import ROOT_TOKEN, OpenBao, start_openbao, start_openbao_with_tls

POLICY = """
path "secret/data/ml/*" { capabilities = ["read"] }
path "rabbitmq/creds/*" { capabilities = ["read"] }
path "sys/leases/renew" { capabilities = ["update"] }
"""


@pytest.fixture(scope="session")
def openbao(tmp_path_factory) -> Iterator[OpenBao]:
    server = start_openbao(tmp_path_factory.mktemp("openbao"))
    client = server.client()
    client.sys.enable_auth_method("approle")
    client.sys.create_or_update_policy("ml", POLICY)
    client.adapter.close()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def tls_openbao(tmp_path_factory, certificate_authority) -> Iterator[OpenBao]:
    server = start_openbao_with_tls(tmp_path_factory.mktemp("openbao"), certificate_authority)
    yield server
    server.stop()


@pytest.fixture
def root(openbao):
    """A client that may do everything."""
    client = openbao.client()
    yield client
    client.adapter.close()


@dataclass
class Role:
    """An AppRole of its own for one test."""

    name: str
    role_id: str
    secret_id_file: Path

    def login(self) -> AppRoleLogin:
        return AppRoleLogin(
            self.role_id,
            secret_id=PlainSecretId(self.secret_id_file, on_secret=lambda _: None),
            mount="approle",
        )


@pytest.fixture
def new_role(root, tmp_path):
    """Makes a role with the policy `POLICY`; what is given is passed on to OpenBao."""

    def make(**options) -> Role:
        name = f"role-{uuid.uuid4()}"
        root.auth.approle.create_or_update_approle(name, token_policies=["ml"], **options)
        role_id = root.auth.approle.read_role_id(name)["data"]["role_id"]
        secret_id_file = tmp_path / name
        secret_id_file.write_text(root.auth.approle.generate_secret_id(name)["data"]["secret_id"])
        return Role(name, role_id, secret_id_file)

    return make


@pytest.fixture
async def open_store(openbao):
    """Opens a store on the running server, by default as root; closes all at the end."""
    opened: list[VaultSecretStore] = []

    def open_(login=None, *, server=openbao, namespace=None, **options) -> VaultSecretStore:
        vault = VaultServer(server.address, ca_file=server.ca_file, namespace=namespace)
        settings = {"mount": "secret", "engine": "auto", "on_secret": lambda _: None, **options}
        store = VaultSecretStore(vault, login or TokenLogin(None), **settings)
        opened.append(store)
        return store

    yield open_
    for store in opened:
        await store.close()


@pytest.fixture
async def open_vault(vault):
    """Opens a store as it is configured; closes all at the end."""
    opened = []

    def open_(auth, *, on_secret=lambda _: None, **settings):
        server = {"address": vault.server.address, "ca_file": vault.server.ca_file}
        store = config.VaultSecretStore(type="vault", auth=auth, **server | settings)
        opened.append(open_secret_stores({"vault": store}, on_secret=on_secret))
        return opened[-1]._stores["vault"].store

    yield open_
    for resolver in opened:
        await resolver.close()


@pytest.fixture(autouse=True)
def _root_token(monkeypatch):
    monkeypatch.setenv("VAULT_TOKEN", ROOT_TOKEN)


@pytest.fixture
def secret(root):
    """A path of its own below ``ml``, with the field ``key`` set to ``first``."""
    path = f"ml/{uuid.uuid4()}"
    root.secrets.kv.v2.create_or_update_secret(path, {"key": "first"})
    return path


@pytest.fixture
def rabbit(root):
    """A queue whose users OpenBao makes, with a lease that the test sets."""
    with running_rabbitmq() as rabbit:
        root.sys.enable_secrets_engine("rabbitmq", "rabbitmq")
        connection = {
            "connection_uri": rabbit.address,
            "username": "admin",
            "password": uuid.uuid4().hex,
            "verify_connection": False,
        }
        root.adapter.post("/v1/rabbitmq/config/connection", json=connection)
        vhosts = '{"/": {"configure": "", "write": "", "read": ".*"}}'
        root.adapter.post("/v1/rabbitmq/roles/ml", json={"vhosts": vhosts})
        yield rabbit
        root.sys.disable_secrets_engine("rabbitmq")


@pytest.fixture
def lease(root):
    def set_(ttl: int, max_ttl: int) -> None:
        root.adapter.post("/v1/rabbitmq/config/lease", json={"ttl": ttl, "max_ttl": max_ttl})

    return set_
