"""Secrets that Vault makes for us and leases, as database/creds/ROLE.

Keys and values are not read here.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.secret import Secret
from agent.secrets.base import SecretValue
from agent.secrets.fields import object_fields
from agent.secrets.vault.answers import seconds, section, text
from agent.secrets.vault.lease import Lease, background, renewed_in_time
from agent.secrets.vault.login import Token
from agent.secrets.vault.server import api_path
from agent.secrets.vault.session import VaultSession


@dataclass(frozen=True, slots=True, eq=False)
class _Leased:
    """A secret; its lease ends with the token that it was given to, whatever its own length."""

    fields: Mapping[str, Secret] = field(repr=False)
    lease_id: str
    lease: Lease
    token: Token

    def remaining(self) -> float:
        return min(self.lease.remaining(), self.token.lease.remaining())


class DynamicSecrets:
    """Holds one lease for each path and renews it as long as Vault allows.

    A credential may be in the hands of a job or of a pipeline that outlives us, and nobody tells
    us when they are done with it. So a lease is renewed for as long as the agent runs, also after
    a newer one took its place, and never revoked: when the agent ends, it runs out by itself
    within its length.
    """

    def __init__(self, session: VaultSession) -> None:
        self._session = session
        self._current: dict[str, _Leased] = {}
        self._keepers: set[asyncio.Task[None]] = set()

    @property
    def leased(self) -> bool:
        """Whether a lease is alive that revoking the token would end."""
        return bool(self._keepers)

    async def read(self, path: str) -> SecretValue:
        """Return the secret whose lease is being kept, or a new one.

        Raises:
            CredentialUnavailable: As `VaultSession.ask`.
        """
        token = await self._session.token()
        held = self._current.get(path)
        if held is not None and held.token is token and not held.lease.ending:
            return SecretValue(held.fields, held.remaining())
        return await self._new(path)

    def forget(self, path: str) -> None:
        """Give a new secret at the next read; the old one's lease goes on for those who use it."""
        self._current.pop(path, None)

    async def close(self) -> None:
        """End the renewals; idempotent."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _new(self, path: str) -> SecretValue:
        answer, token = await self._session.ask(lambda client: client.adapter.get(api_path(path)))
        fields = object_fields(section(answer, "data"))
        if not answer.get("lease_id"):
            return SecretValue(fields)
        life = seconds(answer, "lease_duration")
        lease = Lease.of(life, renewable=answer.get("renewable") is True)
        leased = _Leased(fields, text(answer, "lease_id"), lease, token)
        self._current[path] = leased
        if not math.isinf(lease.ttl):
            self._start_keeping(path, leased)
        return SecretValue(fields, leased.remaining())

    def _start_keeping(self, path: str, leased: _Leased) -> None:
        keeper = background(self._keep(path, leased), name="vault.lease")
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)

    async def _keep(self, path: str, leased: _Leased) -> None:
        while leased.remaining() > 0:
            await renewed_in_time(leased.lease, lambda: self._renew(leased), of=path)

    async def _renew(self, leased: _Leased) -> float:
        return await self._session.renew_lease(leased.lease_id, leased.lease.ttl, leased.token)
