"""Builds the configured secret stores; the only place of this folder that knows all of them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, assert_never

from agent.config import settings
from agent.errors import UsageError
from agent.secrets.base import Secret, SecretStore
from agent.secrets.env import EnvSecretStore
from agent.secrets.file import FileSecretStore
from agent.secrets.resolver import OpenStore, SecretResolver

if TYPE_CHECKING:
    from agent.secrets.vault.approle import AppRoleLogin


def open_secret_stores(
    stores: Mapping[str, settings.SecretStore],
    *,
    on_secret: Callable[[Secret], None],
    on_use: Callable[[str], None] = lambda _reference: None,
) -> SecretResolver:
    """Return a resolver over *stores*; does no I/O, the first use of a store logs in to it.

    Raises:
        UsageError: A store lacks what its login needs.
    """
    opened = {
        name: OpenStore(_open(name, store, on_secret), store.type, store.cache)
        for name, store in stores.items()
    }
    return SecretResolver(opened, on_secret=on_secret, on_use=on_use)


def _open(
    name: str, store: settings.SecretStore, on_secret: Callable[[Secret], None]
) -> SecretStore:
    match store:
        case settings.FileSecretStore():
            return FileSecretStore(store.root)
        case settings.EnvSecretStore():
            return EnvSecretStore(store.prefix)
        case settings.VaultSecretStore():
            return _open_vault(name, store, on_secret)
    assert_never(store)


def _open_vault(
    name: str, store: settings.VaultSecretStore, on_secret: Callable[[Secret], None]
) -> SecretStore:
    from agent.secrets.vault.login import Login
    from agent.secrets.vault.server import VaultServer
    from agent.secrets.vault.store import VaultSecretStore
    from agent.secrets.vault.token import TokenLogin

    login: Login
    match store.auth:
        case settings.VaultToken():
            login = TokenLogin(store.auth.token_file)
        case settings.VaultAppRole():
            login = _approle(name, store.auth)
        case _:
            assert_never(store.auth)
    server = VaultServer(store.address, ca_file=store.ca_file, namespace=store.namespace)
    return VaultSecretStore(
        server, login, mount=store.mount, engine=store.engine, on_secret=on_secret
    )


def _approle(name: str, auth: settings.VaultAppRole) -> "AppRoleLogin":
    from agent.secrets.vault.approle import AppRoleLogin

    role_id = auth.role_id or auth.role_id_file
    if role_id is None:
        raise UsageError(f"secret_stores.{name}.auth: set role_id or role_id_file")
    return AppRoleLogin(role_id, secret_id_file=auth.secret_id_file, mount=auth.mount)
