"""Log in to Vault with a TLS certificate."""

from pathlib import Path

from agent.secrets.vault.login import Token, issued
from agent.secrets.vault.server import VaultServer


class CertificateLogin:
    """Shows the certificate on every connection, not just for the login.

    A listener may ask for one always. Without a *role*, Vault takes the one that fits.
    """

    name = "cert"

    def __init__(self, cert_file: Path, *, key_file: Path, role: str | None, mount: str) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._role = role
        self._mount = mount

    async def log_in(self, server: VaultServer) -> Token:
        server.show_certificate(self._cert_file, self._key_file)
        return await issued(
            server,
            self._mount,
            "login",
            form={"name": self._role} if self._role else {},
            advice=f"does {self._role or 'a role'} accept {self._cert_file}?",
        )
