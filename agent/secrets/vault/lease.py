"""How long something Vault granted is good for, and its renewal in time.

What was granted is not known here.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from agent.errors import CredentialUnavailable
from agent.telemetry.logs import get_logger

log = get_logger()

_RENEW_AT = 2 / 3
_SHORTEST_SLEEP = 0.5


@dataclass(slots=True)
class Lease:
    """A grant for *ttl* seconds, for ever when that is infinite."""

    ttl: float
    renewable: bool
    expires_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.extend(self.ttl)

    @classmethod
    def of(cls, seconds: float, *, renewable: bool) -> "Lease":
        """Return the lease that Vault means by *seconds*, where 0 is no end."""
        return cls(seconds or math.inf, renewable)

    def remaining(self) -> float:
        """Seconds until the end; 0 or less when it is over."""
        return self.expires_at - time.monotonic()

    def extend(self, seconds: float) -> None:
        """Let the lease end in *seconds* from now."""
        self.expires_at = time.monotonic() + seconds

    @property
    def pause(self) -> float:
        """Seconds until it is time to renew it: two thirds of what remains."""
        return max(self.remaining() * _RENEW_AT, _SHORTEST_SLEEP)

    @property
    def ending(self) -> bool:
        """Whether a renewal doesn't bring it to half its length any more: its maximum is near."""
        return self.remaining() < self.ttl * (1 - _RENEW_AT) / 2


async def extended(lease: Lease, renew: Callable[[], Awaitable[float]], *, of: str) -> bool:
    """Renew; say whether that gave at least half of the whole.

    *renew* returns the seconds that were granted. A failure is logged, with *of* as what it was
    the lease of.
    """
    if not lease.renewable:
        return False
    try:
        granted = await renew()
    except CredentialUnavailable as failure:
        expires_in = round(lease.remaining(), 1)
        log.warning("vault.renewal_failed", of=of, expires_in=expires_in, detail=failure.detail)
        return False
    lease.extend(granted)
    return granted >= lease.ttl / 2


def background(work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
    """Start *work*, without the log context of the job that happened to cause it."""
    return asyncio.create_task(work, name=name, context=Context())
