"""Builds a Vault store and its login from settings."""

from collections.abc import Callable
from typing import assert_never

from agent.config import secret_stores as config
from agent.errors import UsageError
from agent.secret import Secret
from agent.secrets.vault.approle import AppRoleLogin
from agent.secrets.vault.login import Login
from agent.secrets.vault.server import VaultServer
from agent.secrets.vault.store import VaultSecretStore
from agent.secrets.vault.token import TokenLogin


def open_vault(
    name: str, store: config.VaultSecretStore, *, on_secret: Callable[[Secret], None]
) -> VaultSecretStore:
    """Return the store that *store* describes; does no I/O and loads no SDK.

    Raises:
        UsageError: It lacks what its login needs.
    """
    server = VaultServer(store.address, ca_file=store.ca_file, namespace=store.namespace)
    return VaultSecretStore(
        server,
        _login(name, store.auth),
        mount=store.mount,
        engine=store.engine,
        on_secret=on_secret,
    )


def _login(name: str, auth: config.VaultAuth) -> Login:
    match auth:
        case config.VaultToken():
            return TokenLogin(auth.token_file)
        case config.VaultAppRole():
            return _approle(name, auth)
        case (
            config.VaultKubernetes()
            | config.VaultJwt()
            | config.VaultUserpass()
            | config.VaultCertificate()
        ):
            raise UsageError(f"secret_stores.{name}.auth: {auth.method} is not there yet")
    assert_never(auth)


def _approle(name: str, auth: config.VaultAppRole) -> AppRoleLogin:
    role_id = auth.role_id or auth.role_id_file
    if role_id is None:
        raise UsageError(f"secret_stores.{name}.auth: set role_id or role_id_file")
    return AppRoleLogin(role_id, secret_id_file=auth.secret_id_file, mount=auth.mount)
