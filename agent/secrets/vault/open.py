"""Builds a Vault store and its login from settings."""

from collections.abc import Callable
from typing import assert_never

from agent.config import secret_stores as config
from agent.errors import UsageError
from agent.secret import Secret
from agent.secrets.vault.approle import AppRoleLogin, SecretId
from agent.secrets.vault.certificate import CertificateLogin
from agent.secrets.vault.jwt import JwtLogin
from agent.secrets.vault.login import Login
from agent.secrets.vault.secret_id import PlainSecretId, WrappedSecretId
from agent.secrets.vault.server import VaultServer
from agent.secrets.vault.store import VaultSecretStore
from agent.secrets.vault.token import TokenLogin
from agent.secrets.vault.userpass import UserpassLogin


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
        _login(name, store.auth, on_secret),
        mount=store.mount,
        engine=store.engine,
        on_secret=on_secret,
    )


def _login(name: str, auth: config.VaultAuth, on_secret: Callable[[Secret], None]) -> Login:
    match auth:
        case config.VaultToken():
            return TokenLogin(auth.token_file)
        case config.VaultAppRole():
            return _approle(name, auth, on_secret)
        case config.VaultKubernetes() | config.VaultJwt():
            return JwtLogin(
                auth.method,
                role=auth.role,
                token_file=auth.token_file,
                mount=auth.mount,
                on_secret=on_secret,
            )
        case config.VaultUserpass():
            return UserpassLogin(
                auth.username,
                password_file=auth.password_file,
                mount=auth.mount,
                on_secret=on_secret,
            )
        case config.VaultCertificate():
            return CertificateLogin(
                auth.cert_file, key_file=auth.key_file, role=auth.role, mount=auth.mount
            )
    assert_never(auth)


def _approle(
    name: str, auth: config.VaultAppRole, on_secret: Callable[[Secret], None]
) -> AppRoleLogin:
    role_id = auth.role_id or auth.role_id_file
    if role_id is None:
        raise UsageError(f"secret_stores.{name}.auth: set role_id or role_id_file")
    file = auth.secret_id_file
    secret_id: SecretId = PlainSecretId(file, on_secret=on_secret)
    if auth.secret_id_is_wrapped:
        secret_id = WrappedSecretId(file, mount=auth.mount, on_secret=on_secret)
    return AppRoleLogin(role_id, secret_id=secret_id, mount=auth.mount)
