"""Log in to Vault with a token that somebody else made and rotates."""

import math
import os
from pathlib import Path

from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secrets.vault.answers import seconds, section
from agent.secrets.vault.lease import Lease
from agent.secrets.vault.login import Token, first_line
from agent.secrets.vault.server import VaultDenied, VaultServer
from agent.telemetry.logs import get_logger

log = get_logger()


class TokenLogin:
    """Takes the token from *token_file*, or from VAULT_TOKEN when there is none."""

    name = "token"

    def __init__(self, token_file: Path | None) -> None:
        self._file = token_file
        self._warned_of: Secret | None = None

    async def log_in(self, server: VaultServer) -> Token:
        secret = await self._secret()
        try:
            answer = await server.ask(lambda client: client.auth.token.lookup_self(), secret)
        except VaultDenied as denied:
            detail = f"the token is not valid; put a new one into {self._place}: {denied.detail}"
            raise VaultDenied(detail=detail) from None
        token = section(answer, "data")
        lease = Lease.of(seconds(token, "ttl"), renewable=token.get("renewable") is True)
        self._warn_of_the_end(secret, lease)
        return Token(secret, lease, revocable=False)

    @property
    def _place(self) -> str:
        return str(self._file or "VAULT_TOKEN")

    async def _secret(self) -> Secret:
        if self._file:
            return await first_line(self._file)
        if not (token := os.environ.get("VAULT_TOKEN")):
            raise CredentialUnavailable(detail="no token: set token_file or VAULT_TOKEN")
        return Secret(token)

    def _warn_of_the_end(self, secret: Secret, lease: Lease) -> None:
        if lease.renewable or lease.ttl == math.inf or secret == self._warned_of:
            return
        self._warned_of = secret
        advice = f"before that, put a new token into {self._place}, or use one that can be renewed"
        log.warning("vault.token_not_renewable", expires_in=lease.ttl, advice=advice)
