"""The log of one job: appended as it comes, followed by any number of readers."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from agent.errors import ProtocolError
from control_plane_stub.signals import Signal
from control_plane_stub.storage.spool import AppendedFile, Outcome, Writer

READ_BYTES = 64 * 1024


class JobLog:
    """Text in a file. A line that can't be stored is lost; the job goes on."""

    def __init__(self, path: Path, *, writer: Writer, changed: Signal) -> None:
        self._path = path
        self._writer = writer
        self._changed = changed
        self._file = AppendedFile(path)
        self.stored = path.stat().st_size if path.exists() else 0
        """Bytes that can be read."""
        self._queued = self.stored
        self.end = self.stored
        """The position in the agent's log up to which we have it."""

    def append(self, offset: int, end: int, text: str) -> None:
        """Take in the log from *offset* to *end*; what is here already is dropped.

        Raises:
            ProtocolError: Something before it is missing.
        """
        if offset > self.end:
            raise ProtocolError(f"a log begins at {offset}, {self.end} bytes are here")
        if end <= self.end:
            return
        data = text.encode()[self.end - offset :]
        self.end = end
        self._queued += len(data)
        self._writer.append(self._file, data, lambda outcome: self._is_stored(outcome, len(data)))

    def close(self) -> None:
        """Close the file behind what was appended."""
        self._writer.finish(self._file, lambda _: self._changed.notify())

    @property
    def readable(self) -> bool:
        """Whether everything that came in can be read."""
        return self.stored >= self._queued

    async def read(self, position: int) -> bytes:
        """Return what is stored from *position* on, at most `READ_BYTES`; empty when nothing is."""
        if position >= self.stored:
            return b""
        return await asyncio.to_thread(_read, self._path, position)

    def _is_stored(self, outcome: Outcome, size: int) -> None:
        if isinstance(outcome, OSError):
            self._queued -= size
        else:
            self.stored += size
        self._changed.notify()


async def pieces(log: JobLog, position: int) -> AsyncIterator[bytes]:
    """Yield what is stored now, from *position* on."""
    while piece := await log.read(position):
        yield piece
        position += len(piece)


def _read(path: Path, position: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, READ_BYTES, position)
    finally:
        os.close(descriptor)
