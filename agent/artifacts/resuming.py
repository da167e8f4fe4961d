"""A transfer that goes on after what a store and a network do in the middle of it.

How a store is asked is the store's part.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from agent.artifacts.base import ByteRange
from agent.errors import AccessDenied, StoreUnavailable, Truncated
from agent.telemetry import metrics
from agent.telemetry.logs import get_logger

RESUMPTIONS = 4
"""In a row, without a byte in between."""

log = get_logger()


class Source(Protocol):
    """One answer of a store: one version of an object, from some byte on."""

    size: int
    """Of the whole object, in bytes."""
    etag: str
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
"""Asks the store for the bytes of a range, of the version that an etag names; minds credentials."""


class ResumingArtifact:
    """An `Artifact` whose bytes come without a gap, whatever breaks, from one version.

    A source that breaks is replaced by one from the next byte on, with the same etag. It gives up
    after `RESUMPTIONS` without a byte. *store_type* is the label of the metric.
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
            why = broken.detail or str(broken)
        log.info("transfer.resumed", position=self._position, why=why)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((AccessDenied, StoreUnavailable, Truncated)),
            stop=stop_after_attempt(RESUMPTIONS),
            wait=wait_exponential_jitter(initial=0.1, max=5),
            reraise=True,
        ):
            with attempt:
                return await self._again()
        raise AssertionError("a retry ends with a value or an error")

    async def _again(self) -> bytes:
        self._open_source()
        source = await self._begin(ByteRange(self._position, self._end - 1), self.etag)
        try:
            block = await _some(source)
        except BaseException:
            await source.close()
            raise
        self._source = source
        return block

    def _open_source(self) -> Source:
        if self._source is None:
            raise ValueError("the artifact is read outside of its context")
        return self._source


async def _some(source: Source) -> bytes:
    block = await source.read()
    if not block:
        raise Truncated
    return block
