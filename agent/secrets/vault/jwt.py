"""Log in to Vault with a JWT from a file: a Kubernetes service account's, or any issuer's."""

from collections.abc import Callable
from pathlib import Path

from agent.secret import Secret
from agent.secrets.vault.login import Token, first_line, issued
from agent.secrets.vault.server import VaultServer


class JwtLogin:
    """Logs in as *role*, at the method *name* that is mounted at *mount*."""

    def __init__(
        self,
        name: str,
        *,
        role: str,
        token_file: Path,
        mount: str,
        on_secret: Callable[[Secret], None],
    ) -> None:
        self.name = name
        self._role = role
        self._token_file = token_file
        self._mount = mount
        self._on_secret = on_secret

    async def log_in(self, server: VaultServer) -> Token:
        jwt = await first_line(self._token_file)
        self._on_secret(jwt)
        return await issued(
            server,
            self._mount,
            "login",
            form={"role": self._role, "jwt": jwt.reveal()},
            advice=f"is {self._token_file} fresh, and does role {self._role} accept its subject "
            "and audience?",
        )
