"""Turns references into secrets, and keeps them for a while.

No store and no connector lives here.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from agent.closing import close_guarded
from agent.clouds.base import Resolved
from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.secrets.base import Held, SecretStore, SecretValue
from agent.secrets.fields import WHOLE
from agent.single_flight import SingleFlight
from agent.telemetry import metrics
from agent.telemetry.logs import get_logger

log = get_logger()

_MARGIN = 60.0
_MARGIN_SHARE = 0.2

_Place = tuple[str, str, str | None]
"""A store, a path and a version."""


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store, its *kind* for the metrics, and the seconds to keep a value without a lease."""

    store: SecretStore
    kind: str
    cache: float


@dataclass(slots=True)
class _Entry:
    value: SecretValue
    keep_until: float
    expires_at: float | None
    registered: set[str] = field(default_factory=set)

    async def is_current(self) -> bool:
        return self.value.is_current is None or await self.value.is_current()


class SecretResolver:
    """Reads each path once for many callers, and again shortly before its value expires.

    *on_secret* hears of every value before anybody gets it, for the redactor; *on_use* of every
    reference that is used, also when the value was kept, in the context of the caller that uses
    it. Safe for concurrent calls of one event loop.
    """

    def __init__(
        self,
        stores: Mapping[str, OpenStore],
        *,
        on_secret: Callable[[Secret], None],
        on_use: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores = stores
        self._on_secret = on_secret
        self._on_use = on_use
        self._clock = clock
        self._kept: dict[_Place, _Entry] = {}
        self._flights: SingleFlight[_Place, _Entry] = SingleFlight()
        self._invalidations = 0
        self._holds = 0

    async def resolve(self, reference: SecretReference) -> Secret:
        """Return the secret behind *reference*; waits for its store unless it is kept.

        Raises:
            CredentialUnavailable: The store has no such thing, refuses, or is down; `detail` says
            which.
        """
        return (await self.resolve_together([reference])).secrets[0]

    async def resolve_together(self, references: Sequence[SecretReference]) -> Resolved:
        """Return what *references* name; fields of one path come from one reading, never from two
        versions.

        Raises:
            CredentialUnavailable: As for `resolve`.
        """
        entries = await self._entries(references)
        return Resolved(self._used(entries, references), self._soonest(entries.values()))

    async def hold(self, references: Sequence[SecretReference], seconds: float) -> Held:
        """Return what *references* name, and keep it valid until it is released, or *seconds* are
        over: for a run, which nobody brings newer secrets.

        Raises:
            CredentialUnavailable: As for `resolve`.
        """
        entries = await self._entries(references)
        secrets = self._used(entries, references)
        holds = ExitStack()
        for entry in entries.values():
            if entry.value.hold is not None:
                holds.callback(entry.value.hold(seconds))
                holds.callback(self._let_go)
                self._holds += 1
        return Held(secrets, holds.close)

    @property
    def holding(self) -> bool:
        """Whether a run depends on these stores, which renew what it holds."""
        return self._holds > 0

    def invalidate(self, reference: SecretReference) -> None:
        """Read the path of *reference* again at its next use; idempotent."""
        place = _place(reference)
        self._invalidations += 1
        self._kept.pop(place, None)
        self._flights.forget(place)
        if opened := self._stores.get(reference.store):
            opened.store.forget(reference.path)

    def register(self, secret: Secret) -> None:
        """Tell the redactor of a secret from elsewhere, as a token that a cloud issued."""
        self._on_secret(secret)

    async def check(self, store: str) -> str:
        """Prove that *store* answers and lets us in; return one line for a person.

        Raises:
            CredentialUnavailable: It does not, or there is none of this name.
        """
        return await self._opened(store).store.check()

    async def close(self) -> None:
        """Forget every secret and close the stores; idempotent."""
        await self._flights.close()
        self._kept.clear()
        closing = (
            close_guarded("secret store", name, opened.store.close)
            for name, opened in self._stores.items()
        )
        await asyncio.gather(*closing)

    async def _entries(self, references: Sequence[SecretReference]) -> dict[_Place, _Entry]:
        places = dict.fromkeys(map(_place, references))
        return {place: await self._entry(place) for place in places}

    async def _entry(self, place: _Place) -> _Entry:
        entry = self._kept.get(place)
        if entry is not None and self._clock() < entry.keep_until and await entry.is_current():
            return entry
        return await self._flights.run(place, lambda: self._read(place))

    async def _read(self, place: _Place) -> _Entry:
        name, path, version = place
        opened = self._opened(name)
        invalidations, started = self._invalidations, self._clock()
        try:
            value = await opened.store.read(path, version)
        except CredentialUnavailable as failure:
            metrics.credential_resolutions.labels(opened.kind, "failed").inc()
            log.warning("secret.unavailable", store=name, path=path, detail=failure.detail)
            raise
        metrics.credential_resolutions.labels(opened.kind, "ok").inc()
        entry = _entry(value, started, opened.cache)
        # What was being read while somebody found it refused may be the refused value.
        if invalidations == self._invalidations:
            self._kept[place] = entry
        return entry

    def _opened(self, name: str) -> OpenStore:
        if name not in self._stores:
            raise CredentialUnavailable(detail=f"no secret store is named {name!r}")
        return self._stores[name]

    def _used(
        self, entries: Mapping[_Place, _Entry], references: Sequence[SecretReference]
    ) -> tuple[Secret, ...]:
        secrets = tuple(self._chosen(entries, reference) for reference in references)
        for reference in references:
            self._on_use(str(reference))
        return secrets

    def _let_go(self) -> None:
        self._holds -= 1

    def _chosen(self, entries: Mapping[_Place, _Entry], reference: SecretReference) -> Secret:
        entry = entries[_place(reference)]
        name = _field_name(entry.value, reference)
        secret = entry.value.fields[name]
        if name not in entry.registered:
            self._on_secret(secret)
            entry.registered.add(name)
        return secret

    def _soonest(self, entries: Iterable[_Entry]) -> float | None:
        ends = [entry.expires_at for entry in entries if entry.expires_at is not None]
        return max(min(ends) - self._clock(), 0.0) if ends else None


def _place(reference: SecretReference) -> _Place:
    return reference.store, reference.path, reference.version


def _entry(value: SecretValue, started: float, cache: float) -> _Entry:
    if value.expires_in is None:
        return _Entry(value, started + cache, None)
    margin = min(_MARGIN, value.expires_in * _MARGIN_SHARE)
    expires_at = started + value.expires_in
    return _Entry(value, expires_at - margin, expires_at)


def _field_name(value: SecretValue, reference: SecretReference) -> str:
    names = list(value.fields)
    name = reference.field
    if name is None:
        name = names[0] if len(names) == 1 else WHOLE
    if name not in value.fields:
        has = ", ".join(sorted(filter(None, names))) or "none"
        raise CredentialUnavailable(
            detail=f"{reference} names no field of this secret; it has: {has}"
        )
    return name
