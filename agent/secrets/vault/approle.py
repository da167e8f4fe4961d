"""Log in to Vault with an AppRole: a role id, and a secret id from a file."""

from pathlib import Path

from agent.secret import Secret
from agent.secrets.vault.answers import seconds, section, text
from agent.secrets.vault.lease import Lease
from agent.secrets.vault.login import Token, first_line
from agent.secrets.vault.server import VaultServer


class AppRoleLogin:
    """Gets a new token for each login; *role_id* is the id itself or the file that holds it."""

    name = "approle"
    issued = True

    def __init__(self, role_id: str | Path, *, secret_id_file: Path, mount: str) -> None:
        self._role_id = role_id
        self._secret_id_file = secret_id_file
        self._mount = mount

    async def log_in(self, server: VaultServer) -> Token:
        role_id = await self._role()
        secret_id = await first_line(self._secret_id_file)
        answer = await server.ask(
            lambda client: client.auth.approle.login(
                role_id, secret_id.reveal(), use_token=False, mount_point=self._mount
            )
        )
        auth = section(answer, "auth")
        life = seconds(auth, "lease_duration")
        lease = Lease.of(life, renewable=auth.get("renewable") is True)
        return Token(Secret(text(auth, "client_token")), lease)

    async def _role(self) -> str:
        if isinstance(self._role_id, Path):
            return (await first_line(self._role_id)).reveal()
        return self._role_id
