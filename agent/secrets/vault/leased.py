"""One secret that Vault leased to us, and who still needs it. Asking Vault is not done here."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping

from agent.secret import Secret
from agent.secrets.base import SecretValue
from agent.secrets.vault.lease import Lease
from agent.secrets.vault.login import Token


class Leased:
    """A secret; its lease ends with the token that it was given to, whatever its own length.

    Needed by everybody who read it, for as long as it was promised to them, and by runs that hold
    it.
    """

    def __init__(
        self, fields: Mapping[str, Secret], *, lease_id: str, lease: Lease, token: Token
    ) -> None:
        self._fields = fields
        self.lease_id = lease_id
        self.lease = lease
        self.token = token
        self.superseded = False
        self._promised_until = 0.0
        self._holds: dict[object, float] = {}
        self._changed = asyncio.Event()

    def remaining(self) -> float:
        """Seconds until the end; 0 or less when it is over."""
        return min(self.lease.remaining(), self.token.lease.remaining())

    def promise(self) -> SecretValue:
        """Return the secret, with the promise that it is good until its present end."""
        life = self.remaining()
        self._promised_until = max(self._promised_until, time.monotonic() + life)
        return SecretValue(self._fields, None if math.isinf(life) else life, hold=self._hold)

    @property
    def held_for(self) -> float:
        """Seconds for which runs may need it; 0 when none holds it."""
        return max(self._holds.values(), default=time.monotonic()) - time.monotonic()

    @property
    def held(self) -> bool:
        """Whether a run holds it."""
        return bool(self._holds)

    @property
    def needed(self) -> bool:
        """Whether anybody may be using it."""
        return self.held or self._promised_until > time.monotonic()

    def supersede(self, linger: float = math.inf) -> None:
        """Let nobody read it any more, and let promises end in *linger* seconds."""
        self.superseded = True
        self._promised_until = min(self._promised_until, time.monotonic() + linger)
        self._changed.set()

    async def turn(self) -> bool:
        """Wait until it is to be renewed, and say so, or until it may be needed no more."""
        renewing = not self.superseded or self.held
        pause = self.lease.pause if renewing else self._promised_until - time.monotonic()
        self._changed.clear()
        try:
            async with asyncio.timeout(pause if pause < math.inf else None):
                await self._changed.wait()
        except TimeoutError:
            return renewing
        return False

    def _hold(self, seconds: float) -> Callable[[], None]:
        hold = object()
        self._holds[hold] = time.monotonic() + seconds

        def release() -> None:
            self._holds.pop(hold, None)
            self._changed.set()

        return release
