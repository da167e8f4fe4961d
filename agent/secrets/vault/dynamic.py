"""Secrets that Vault makes for us and leases, as database/creds/ROLE.

Keys and values are not read here.
"""

import asyncio

from agent.errors import CredentialUnavailable
from agent.secrets.base import SecretValue
from agent.secrets.fields import object_fields
from agent.secrets.vault.answers import seconds, section, text
from agent.secrets.vault.lease import Lease, background, extended
from agent.secrets.vault.leased import Leased
from agent.secrets.vault.server import api_path
from agent.secrets.vault.session import FAREWELL, VaultSession
from agent.telemetry.logs import get_logger

log = get_logger()


class DynamicSecrets:
    """Holds one lease for each path, renewed while it is in use and revoked when that is over.

    In use is what was read, until the time that its readers were told, and what a run holds. What
    was refused somewhere is revoked *linger* seconds later, when requests that were under way with
    it are over. At the end everything is revoked but what runs hold: those leases and their token
    are extended once, for as long as the runs may last and Vault allows.
    """

    def __init__(self, session: VaultSession, *, linger: float) -> None:
        self._session = session
        self._linger = linger
        self._current: dict[str, Leased] = {}
        self._kept: dict[Leased, asyncio.Task[None]] = {}

    async def read(self, path: str) -> SecretValue:
        """Return the secret whose lease is being kept, or a new one.

        Raises:
            CredentialUnavailable: As `VaultSession.ask`.
        """
        token = await self._session.token()
        leased = self._current.get(path)
        if leased is None or leased.token is not token or leased.lease.ending:
            return await self._new(path)
        return leased.promise()

    def forget(self, path: str) -> None:
        """Give a new secret at the next read, since this one was refused; idempotent."""
        if leased := self._current.pop(path, None):
            leased.supersede(self._linger)

    async def close(self) -> bool:
        """End the renewals, revoke or extend; idempotent. Say whether runs still hold a lease.

        Revoked by itself is only what does not end with our token.
        """
        kept, self._kept = self._kept, {}
        for keeper in kept.values():
            keeper.cancel()
        await asyncio.gather(*kept.values(), return_exceptions=True)
        held = [leased for leased in kept if leased.held]
        done = [leased for leased in kept if not leased.held]
        if not held:
            done = [leased for leased in done if not self._session.ends_with(leased.token)]
        await asyncio.gather(*map(self._revoke, done), *map(self._bequeath, held))
        return bool(held)

    async def _new(self, path: str) -> SecretValue:
        answer, token = await self._session.ask(lambda client: client.adapter.get(api_path(path)))
        fields = object_fields(section(answer, "data"))
        if not answer.get("lease_id"):
            return SecretValue(fields)
        life = seconds(answer, "lease_duration")
        lease = Lease.of(life, renewable=answer.get("renewable") is True)
        leased = Leased(fields, lease_id=text(answer, "lease_id"), lease=lease, token=token)
        if old := self._current.get(path):
            old.supersede()
        self._current[path] = leased
        value = leased.promise()
        self._kept[leased] = background(self._keep(path, leased), name="vault.lease")
        return value

    async def _keep(self, path: str, leased: Leased) -> None:
        while leased.remaining() > 0:
            due = await leased.turn()
            if not leased.needed:
                break
            if due:
                await extended(leased.lease, lambda: self._renew(leased), of=path)
        if self._current.get(path) is leased:
            del self._current[path]
        if leased.remaining() > 0:
            await self._revoke(leased)
        self._kept.pop(leased, None)

    async def _renew(self, leased: Leased) -> float:
        return await self._session.renew_lease(leased.lease_id, leased.lease.ttl, leased.token)

    async def _revoke(self, leased: Leased) -> None:
        try:
            async with asyncio.timeout(FAREWELL):
                await self._session.revoke_lease(leased.lease_id)
        except (CredentialUnavailable, TimeoutError) as failure:
            log.warning(
                "vault.revocation_failed",
                of=leased.lease_id.rpartition("/")[0],
                detail=getattr(failure, "detail", None) or type(failure).__name__,
                expires_in=round(leased.remaining(), 1),
            )

    async def _bequeath(self, leased: Leased) -> None:
        """Let it last for the runs that hold it, without us."""
        wanted = leased.held_for
        try:
            async with asyncio.timeout(FAREWELL):
                if leased.token.lease.remaining() < wanted:
                    await self._session.renew_token(leased.token, wanted)
                if leased.lease.remaining() < wanted:
                    lease_id, token = leased.lease_id, leased.token
                    leased.lease.extend(await self._session.renew_lease(lease_id, wanted, token))
        except (CredentialUnavailable, TimeoutError):
            pass  # What it has left is in the log in any case.
        path, left = leased.lease_id.rpartition("/")[0], leased.remaining()
        log.info("vault.lease_left", of=path, wanted=round(wanted), expires_in=round(left))
