"""Log in to Vault with an AppRole: a role id, and a secret id from a file."""

from pathlib import Path
from typing import Protocol

from agent.secret import Secret
from agent.secrets.vault.login import Token, first_line, issued
from agent.secrets.vault.server import VaultServer


class SecretId(Protocol):
    """Where the secret id is."""

    async def read(self, server: VaultServer) -> Secret:
        """Return the one that is valid now, which the redactor knows.

        Raises:
            CredentialUnavailable: There is none.
        """


class AppRoleLogin:
    """Gets a new token for each login; *role_id* is the id itself or the file that holds it."""

    name = "approle"

    def __init__(self, role_id: str | Path, *, secret_id: SecretId, mount: str) -> None:
        self._role_id = role_id
        self._secret_id = secret_id
        self._mount = mount

    async def log_in(self, server: VaultServer) -> Token:
        role_id = await self._role()
        secret_id = await self._secret_id.read(server)
        return await issued(
            server,
            self._mount,
            "login",
            form={"role_id": role_id, "secret_id": secret_id.reveal()},
            advice="is the secret id one of this role, not yet used up and not expired?",
        )

    async def _role(self) -> str:
        if isinstance(self._role_id, Path):
            return (await first_line(self._role_id)).reveal()
        return self._role_id
