"""Content in a file, for any number of readers. What readers may rely on stands in `content`."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from control_plane_stub.signals import Signal
from control_plane_stub.storage.content import READER_WINDOW, Reading
from control_plane_stub.storage.spool import AppendedFile, Outcome, Writer

READ_BYTES = 1024 * 1024
_READERS = ThreadPoolExecutor(2, thread_name_prefix="content-reader")
"""Few: each thread that allocates such buffers keeps an arena of its own."""


class Kept(Reading):
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
            self.changed.notify()
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
            while self.wanting(position, stop):
                version = self.changed.version
                count = min(stop, self._released(), position + READ_BYTES) - position
                if count <= 0:
                    await self.wait(version)
                    continue
                if descriptor is None:
                    descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                read = partial(os.pread, descriptor, count, position)
                piece = await self._loop.run_in_executor(_READERS, read)
                yield piece
                position += len(piece)
                self._positions[reader] = position
                self.was_read()
        finally:
            del self._positions[reader]
            self.was_read()
            if descriptor is not None:
                os.close(descriptor)

    def _released(self) -> int:
        if self.complete or self.size is None:
            return self._stored
        return min(self._stored, self.size - 1)
