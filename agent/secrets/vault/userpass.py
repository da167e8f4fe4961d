"""Log in to Vault with a user name, and a password from a file."""

from collections.abc import Callable
from pathlib import Path

from agent.secret import Secret
from agent.secrets.vault.login import Token, first_line, issued
from agent.secrets.vault.server import VaultServer


class UserpassLogin:
    """Logs in as *username*; the password is the first line of its file."""

    name = "userpass"

    def __init__(
        self, username: str, *, password_file: Path, mount: str, on_secret: Callable[[Secret], None]
    ) -> None:
        self._username = username
        self._password_file = password_file
        self._mount = mount
        self._on_secret = on_secret

    async def log_in(self, server: VaultServer) -> Token:
        password = await first_line(self._password_file)
        self._on_secret(password)
        return await issued(
            server,
            self._mount,
            "login",
            self._username,
            form={"password": password.reveal()},
            advice=f"is {self._password_file} the password of {self._username}?",
        )
