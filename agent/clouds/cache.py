"""Keeps credentials until shortly before they expire. How they are issued is not known here."""

import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from agent.clouds.expiry import ExpiryMetric
from agent.credentials import Credentials
from agent.errors import CredentialUnavailable
from agent.single_flight import SingleFlight
from agent.telemetry.logs import get_logger

log = get_logger()

_LEAST = timedelta(minutes=1)
_MOST = timedelta(minutes=5)

_SPREAD = 0.1

C = TypeVar("C", bound=Credentials)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CredentialCache(Generic[C]):
    """Issues once for many callers, and again a tenth of the lifetime before the end.

    That is at least one minute and at most five. Credentials that live for less than two minutes
    are kept for half of their life; those without an end are not kept, since the resolver already
    keeps the secrets they are made of. *jitter*, between 0 and 1, takes up to a tenth off the time
    they are kept, so that replicas that started together don't ask together. *keep_at_most* is for
    what somebody else renews long before its end. Where no others can be issued, they are used to
    their end, and after each tenth of what is left they are asked for again.

    *connector* is the name under which logs and the metric of the expiry show them: for the login
    of a secret store it is "secret store NAME", which no connector is called. Safe for concurrent
    calls.
    """

    def __init__(
        self,
        connector: str,
        issue: Callable[[], Coroutine[Any, Any, C]],
        *,
        keep_at_most: timedelta = timedelta.max,
        now: Callable[[], datetime] = _utc_now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connector = connector
        self._issue = issue
        self._keep_at_most = keep_at_most
        self._now = now
        self._jitter = jitter
        self._last: C | None = None
        self._keep_until = now()
        self._drops = 0
        self._flights: SingleFlight[None, C] = SingleFlight()
        self._expiry = ExpiryMetric(connector)

    async def get(self) -> C:
        """Return what is kept, or what is issued now; raises what the issuing raises."""
        if self._last is not None and self._now() < self._keep_until:
            return self._last
        return await self._flights.run(None, self._issued)

    def drop(self, used: C) -> bool:
        """Forget *used* and say so; answer False when it is not what was issued last."""
        if used != self._last:
            return False
        self._drops += 1
        self._last = None
        self._expiry.hide()
        self._flights.forget(None)
        return True

    async def close(self) -> None:
        """Forget everything and end what is under way; idempotent."""
        await self._flights.close()
        self._last = None
        self._expiry.hide()

    async def _issued(self) -> C:
        drops, started = self._drops, self._now()
        try:
            credentials = await self._issue()
        except CredentialUnavailable as failure:
            log.warning("credential.unavailable", connector=self._connector, detail=failure.detail)
            if (spare := self._still_good()) is None:
                raise
            return spare
        # What was being issued while the last ones were refused may be made of the same secrets.
        if drops == self._drops:
            self._last = credentials
            kept = min(_kept_for(started, credentials.expires_at), self._keep_at_most)
            self._keep_until = started + kept * (1 - _SPREAD * self._jitter())
            self._measure(credentials.expires_at)
        return credentials

    def _still_good(self) -> C | None:
        """Return the last credentials where they live on, to be kept for a tenth of that time."""
        if self._last is None or self._last.expires_at is None:
            return None
        left = self._last.expires_at - self._now()
        if left <= timedelta():
            return None
        self._keep_until = self._now() + left / 10
        return self._last

    def _measure(self, expires_at: datetime | None) -> None:
        if expires_at is not None:
            self._expiry.show(lambda: (expires_at - self._now()).total_seconds())


def _kept_for(issued: datetime, expires_at: datetime | None) -> timedelta:
    if expires_at is None:
        return timedelta()
    life = expires_at - issued
    if life < 2 * _LEAST:
        return life / 2
    return life - min(max(life / 10, _LEAST), _MOST)
