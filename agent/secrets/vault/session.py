"""A login that lasts:

one token for many callers, renewed in time, replaced when that no longer helps.
"""

import asyncio
import math
from collections.abc import Callable

from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secrets.vault.answers import Answer, seconds, section
from agent.secrets.vault.lease import background, extended
from agent.secrets.vault.login import Login, Token
from agent.secrets.vault.server import Question, VaultDenied, VaultServer
from agent.telemetry.logs import get_logger

log = get_logger()

FAREWELL = 2.0
"""Seconds for each thing that is undone at the end; Vault may be gone."""


class VaultSession:
    """Asks Vault as whoever *login* makes us; safe for concurrent calls, which share one login.

    A task renews the token at two thirds of its life and logs in again when Vault will not extend
    it any more. It ends with the token: while Vault is down for longer, it is the next question
    that logs in.
    """

    def __init__(
        self, server: VaultServer, login: Login, *, on_secret: Callable[[Secret], None]
    ) -> None:
        self._server = server
        self._login = login
        self._on_secret = on_secret
        self._lock = asyncio.Lock()
        self._token: Token | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def token(self) -> Token:
        """Return a token that should be valid; logs in when there is none.

        Raises:
            CredentialUnavailable: Vault did not let us in.
        """
        async with self._lock:
            if self._token is None or self._token.lease.remaining() <= 0:
                await self._end_keeper()
                token = await self._log_in()
                self._keeper = background(self._keep(), name="vault.renewal")
                return token
            return self._token

    async def ask(self, question: Question) -> tuple[Answer, Token]:
        """Return the answer and the token it was given for.

        Logs in again, once, when the token turns out to be revoked or expired.

        Raises:
            VaultDenied: The policy of a valid token does not allow it.
            CredentialUnavailable: As `VaultServer.ask`.
        """
        token = await self.token()
        try:
            return await self._server.ask(question, token.secret), token
        except VaultDenied:
            if await self._is_valid(token):
                raise
        self._forget(token)
        token = await self.token()
        return await self._server.ask(question, token.secret), token

    async def renew_lease(self, lease_id: str, wanted: float, token: Token) -> float:
        """Ask for *wanted* more seconds of a lease that belongs to *token*; return what it got.

        Raises:
            CredentialUnavailable: None were.
        """
        form = {"lease_id": lease_id, "increment": int(wanted)}
        answer = await self._server.ask(
            lambda client: client.adapter.put("/v1/sys/leases/renew", json=form), token.secret
        )
        return seconds(answer, "lease_duration")

    async def revoke_lease(self, lease_id: str) -> None:
        """End a lease now.

        Raises:
            VaultDenied: Our policy lacks ``update`` on sys/leases/revoke.
            CredentialUnavailable: As `VaultServer.ask`.
        """
        form = {"lease_id": lease_id}
        await self.ask(lambda client: client.adapter.put("/v1/sys/leases/revoke", json=form))

    async def renew_token(self, token: Token, wanted: float) -> None:
        """Ask for *wanted* more seconds of *token*, where it can be renewed.

        Raises:
            CredentialUnavailable: None were granted.
        """
        if token.lease.renewable:
            form = {"increment": int(wanted)}
            answer = await self._server.ask(
                lambda client: client.adapter.post("/v1/auth/token/renew-self", json=form),
                token.secret,
            )
            token.lease.extend(seconds(section(answer, "auth"), "lease_duration"))

    def ends_with(self, token: Token) -> bool:
        """Say whether `close` can revoke *token*, with all that was leased to it."""
        return token is self._token and token.revocable

    async def close(self, *, revoke: bool) -> None:
        """End the renewal, and *revoke* a token that was issued to us; idempotent."""
        await self._end_keeper()
        token, self._token = self._token, None
        if revoke and token is not None and token.revocable:
            await self._revoke(token)
        self._server.close()

    async def _log_in(self) -> Token:
        token = await self._login.log_in(self._server)
        self._on_secret(token.secret)
        self._token = token
        log.info("vault.logged_in", address=self._server.address, method=self._login.name)
        return token

    async def _is_valid(self, token: Token) -> bool:
        try:
            await self._server.ask(lambda client: client.auth.token.lookup_self(), token.secret)
        except VaultDenied:
            return False
        return True

    def _forget(self, token: Token) -> None:
        if self._token is token:
            self._token = None

    async def _keep(self) -> None:
        while (token := self._token) is not None and token.lease.remaining() > 0:
            if token.lease.ttl == math.inf:
                return
            await asyncio.sleep(token.lease.pause)
            if not await extended(token.lease, lambda: self._renew(token), of="token"):
                await self._replace(token)

    async def _renew(self, token: Token) -> float:
        answer = await self._server.ask(lambda client: client.auth.token.renew_self(), token.secret)
        return seconds(section(answer, "auth"), "lease_duration")

    async def _replace(self, token: Token) -> None:
        async with self._lock:
            if self._token is not token:
                return
            try:
                await self._log_in()
            except CredentialUnavailable as failure:
                expires_in = round(token.lease.remaining(), 1)
                log.warning("vault.login_failed", expires_in=expires_in, detail=failure.detail)

    async def _end_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    async def _revoke(self, token: Token) -> None:
        try:
            async with asyncio.timeout(FAREWELL):
                await self._server.ask(lambda client: client.auth.token.revoke_self(), token.secret)
        except (CredentialUnavailable, TimeoutError) as failure:
            log.warning("vault.revocation_failed", of="token", detail=type(failure).__name__)
