"""A transfer that goes on after what a store and a network do in the middle of it.

How a store is asked is the store's part.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from agent.artifacts.base import ByteRange
from agent.errors import (
    AccessDenied,
    Changed,
    CredentialUnavailable,
    NotFound,
    StoreUnavailable,
    Truncated,
)
from agent.telemetry import metrics
from agent.telemetry.logs import get_logger

PATIENCE_SECONDS = 60.0
"""Without a byte, until a transfer is given up: a store that restarts takes less."""

log = get_logger()


class Source(Protocol):
    """One answer of a store: one version of an object, from some byte on."""

    size: int
    """Of the whole object, in bytes."""
    etag: str
    """Empty where the store names no version: then no transfer is resumed."""
    media_type: str | None

    async def read(self) -> bytes:
        """Return the next bytes, none at the end.

        Raises:
            Truncated, StoreUnavailable: The connection broke, or the store ended too early.
            AccessDenied: The credential is not good any more.
        """

    async def close(self) -> None:
        """End the transfer at once, also while `read` is waiting; idempotent."""


Begin = Callable[[ByteRange | None, str | None], Awaitable[Source]]
"""Asks the store for the bytes of a range, of the version that an etag names; minds credentials.

A StoreUnavailable is tried again by whoever calls: one try each time is enough.
"""


class ResumingArtifact:
    """An `Artifact` whose bytes come without a gap, whatever breaks, from one version.

    A source that breaks is replaced by one from the next byte on, with the same etag. It gives up
    after `PATIENCE_SECONDS` without a byte, and at once when newer credentials are refused, too.
    *store_type* is the label of the metric.
    """

    def __init__(
        self, source: Source, begin: Begin, span: ByteRange | None, *, store_type: str
    ) -> None:
        self.size = source.size
        self.etag = source.etag
        self.media_type = source.media_type
        self._source: Source | None = source
        self._begin = begin
        self._position = span.first if span else 0
        last = span.last if span else None
        self._end = self.size if last is None else min(self.size, last + 1)
        self._counter = metrics.artifact_bytes.labels(store_type)

    async def blocks(self) -> AsyncIterator[bytes]:
        while self._position < self._end:
            block = await self._next()
            self._position += len(block)
            self._counter.inc(len(block))
            yield block

    async def close(self) -> None:
        """End the transfer at once; idempotent."""
        source, self._source = self._source, None
        if source is not None:
            await source.close()

    async def _next(self) -> bytes:
        source = self._open_source()
        try:
            return await _some(source)
        except (AccessDenied, StoreUnavailable, Truncated) as broken:
            await source.close()
            if not self.etag:
                raise
            why = broken
        block = await self._resumed()
        log.info("transfer.resumed", position=self._position, why=why.detail or str(why))
        return block

    async def _resumed(self) -> bytes:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((CredentialUnavailable, StoreUnavailable, Truncated)),
            stop=stop_after_delay(PATIENCE_SECONDS),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            reraise=True,
        ):
            with attempt:
                return await self._again()
        raise AssertionError("a retry ends with a value or an error")

    async def _again(self) -> bytes:
        self._open_source()
        try:
            source = await self._begin(ByteRange(self._position, self._end - 1), self.etag)
        except NotFound:
            raise Changed(detail="it is not there any more") from None
        try:
            self._require_same(source)
            block = await _some(source)
        except BaseException:
            await source.close()
            raise
        self._source = source
        return block

    def _require_same(self, source: Source) -> None:
        """Not every store minds the etag that it is asked for."""
        if (source.size, source.etag) != (self.size, self.etag):
            raise Changed

    def _open_source(self) -> Source:
        if self._source is None:
            raise ValueError("the artifact is read outside of its context")
        return self._source


async def _some(source: Source) -> bytes:
    block = await source.read()
    if not block:
        raise Truncated
    return block
