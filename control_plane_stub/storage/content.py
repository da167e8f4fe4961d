"""The content of one job: taken in from the agent, given to readers, never more than its window.

Two kinds, one interface: `Kept` is stored in a file and can be read again, `Relayed` goes from the
link to the one reader through memory. HTTP and the protocol's frames do not belong here.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

from agent.errors import ProtocolError
from control_plane_stub.signals import Signal
from control_plane_stub.storage.spool import AppendedFile, Digest, Outcome, Sink, Writer

READER_WINDOW = 4 * 1024 * 1024
"""So far ahead of the slowest reader an agent may send."""
READ_BYTES = 1024 * 1024
HASHED_AT_ONCE = 64 * 1024
"""Content up to this size is hashed on the loop: cheaper than a turn of the thread."""
_READERS = ThreadPoolExecutor(2, thread_name_prefix="content-reader")
"""Few: each thread that allocates such buffers keeps an arena of its own."""


class ContentAborted(Exception):
    """The content will never be complete; the job says why."""


class ReaderTaken(Exception):
    """Content that is not kept has one reader, and it has one already."""


class Content(Protocol):
    """What one job sent so far.

    The last byte is released to readers only after `settle` said that bytes and hash are those of
    the trailer, so that a reader who has it all has the right content.
    """

    have: int
    """Bytes taken in."""
    size: int | None
    """Bytes in all, once announced."""
    on_read: Callable[[], None] | None
    """Called when `allowance` may have grown."""

    def append(self, piece: memoryview, done: Callable[[], None]) -> None:
        """Take in the next bytes; *done* is called when they are in safe hands."""

    def finish(self, done: Callable[[Outcome], None]) -> None:
        """Call *done* with the SHA-256 of everything, or with the error that lost some of it."""

    def settle(self, *, complete: bool) -> None:
        """Let readers come to their end: a clean one, or `ContentAborted`."""

    def abandon(self) -> None:
        """Nobody will read what can be read once: hold no more of it than what is on its way."""

    def allowance(self) -> int:
        """Return the byte up to which the agent may send now."""

    def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the bytes from *start* to *stop* as they come; waits for them.

        Raises:
            ContentAborted: The job did not succeed.
            ReaderTaken: Somebody else reads what can be read once.
        """


def next_bytes(content: Content, offset: int, piece: memoryview) -> memoryview:
    """Return the part of *piece* that is new.

    Raises:
        ProtocolError: Bytes before it are missing, or it goes past the announced size.
    """
    if offset > content.have:
        raise ProtocolError(f"a block begins at {offset}, {content.have} bytes are here")
    if content.size is None or offset + len(piece) > content.size:
        raise ProtocolError("a block goes past the announced size")
    return piece[content.have - offset :]


class _Reading:
    """What both kinds share: how far readers may go, and how they end."""

    def __init__(self, changed: Signal) -> None:
        self.have = 0
        self.size: int | None = None
        self.on_read: Callable[[], None] | None = None
        self._changed = changed
        self._complete: bool | None = None

    def settle(self, *, complete: bool) -> None:
        self._complete = complete
        self._changed.notify()

    def _wanting(self, position: int, stop: int) -> bool:
        return position < stop or (stop == self.size and not self._complete)

    async def _wait(self, version: int) -> None:
        if self._complete is False:
            raise ContentAborted
        await self._changed.newer_than(version)

    def _was_read(self) -> None:
        if self.on_read is not None:
            self.on_read()


class Kept(_Reading):
    """Content in a file; any number of readers, at any time, each at its own speed."""

    def __init__(self, path: Path, *, writer: Writer, changed: Signal, limit: int) -> None:
        super().__init__(changed)
        self.have = path.stat().st_size if path.exists() else 0
        self._path = path
        self._stored = self.have
        self._writer = writer
        self._limit = limit
        self._file = AppendedFile(path)
        self._failure: OSError | None = None
        self._positions: dict[object, int] = {}
        self._loop = asyncio.get_running_loop()

    def append(self, piece: memoryview, done: Callable[[], None]) -> None:
        self.have += len(piece)
        size = len(piece)

        def stored(outcome: Outcome) -> None:
            if isinstance(outcome, OSError):
                self._failure = self._failure or outcome
            else:
                self._stored += size
            self._changed.notify()
            done()

        self._writer.append(self._file, piece, stored)

    def finish(self, done: Callable[[Outcome], None]) -> None:
        self._writer.finish(self._file, lambda outcome: done(self._failure or outcome))

    def settle(self, *, complete: bool) -> None:
        super().settle(complete=complete)
        if not complete:
            self._writer.discard(self._file)

    def abandon(self) -> None:
        """Somebody else may read it."""

    def allowance(self) -> int:
        if not self._positions:
            return self._limit
        return min(self._positions.values()) + READER_WINDOW

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes | memoryview, None]:
        reader = object()
        self._positions[reader] = position = start
        descriptor: int | None = None
        try:
            while self._wanting(position, stop):
                version = self._changed.version
                count = min(stop, self._released(), position + READ_BYTES) - position
                if count <= 0:
                    await self._wait(version)
                    continue
                if descriptor is None:
                    descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                read = partial(os.pread, descriptor, count, position)
                piece = await self._loop.run_in_executor(_READERS, read)
                yield piece
                position += len(piece)
                self._positions[reader] = position
                self._was_read()
        finally:
            del self._positions[reader]
            self._was_read()
            if descriptor is not None:
                os.close(descriptor)

    def _released(self) -> int:
        if self._complete or self.size is None:
            return self._stored
        return min(self._stored, self.size - 1)


class Relayed(_Reading):
    """Content that is passed on through memory and kept nowhere; one reader, once.

    *initial* bytes may be sent before the reader is there.
    """

    def __init__(self, *, writer: Writer, changed: Signal, initial: int) -> None:
        super().__init__(changed)
        self._writer = writer
        self._initial = initial
        self._pieces: deque[memoryview] = deque()
        self._handed = 0
        self._taken = False
        self._abandoned = False
        self._digest: Sink = Digest()

    def append(self, piece: memoryview, done: Callable[[], None]) -> None:
        self.have += len(piece)
        if not self._abandoned:
            self._pieces.append(piece)
        self._changed.notify()
        if self._small:
            self._digest.take(piece)
            done()
        else:
            # Safe when it is hashed: a reader may be faster than the hash, and memory is bounded.
            self._writer.append(self._digest, piece, lambda _: done())

    def finish(self, done: Callable[[Outcome], None]) -> None:
        if self._small:
            done(self._digest.finish())
        else:
            self._writer.finish(self._digest, done)

    def settle(self, *, complete: bool) -> None:
        super().settle(complete=complete)
        if not complete:
            self.abandon()

    def abandon(self) -> None:
        self._abandoned = True
        self._pieces.clear()

    def allowance(self) -> int:
        return self._handed + READER_WINDOW if self._taken else self._initial

    def taken_whole(self) -> list[memoryview] | None:
        """Hand out everything at once, when it is complete and nobody has read of it."""
        if not self._complete or self._taken:
            return None
        self._taken = True
        pieces, self._pieces = self._pieces, deque()
        return list(pieces)

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes | memoryview, None]:
        if self._taken or self._abandoned:
            raise ReaderTaken
        self._taken = True
        self._was_read()
        try:
            async for piece in self._handing_out(start, stop):
                yield piece
        finally:
            self.abandon()

    async def _handing_out(self, start: int, stop: int) -> AsyncGenerator[memoryview, None]:
        while self._wanting(self._handed, stop):
            version = self._changed.version
            if not self._pieces or not self._may_hand_out():
                await self._wait(version)
                continue
            piece = self._pieces.popleft()
            self._handed += len(piece)
            if self._handed > start:
                yield piece[max(0, len(piece) - (self._handed - start)) :]
            self._was_read()

    @property
    def _small(self) -> bool:
        return self.size is not None and self.size <= HASHED_AT_ONCE

    def _may_hand_out(self) -> bool:
        return bool(self._complete) or len(self._pieces) > 1 or self.have != self.size
