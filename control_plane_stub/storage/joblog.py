"""The log of one job: appended as it comes, followed by any number of readers.

Beside the text stands a file of positions: after each piece, how long the text is here, and which
position in the agent's log that is. The two differ where the agent blacked something out.
"""

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from agent.errors import ProtocolError
from control_plane_stub.signals import Signal
from control_plane_stub.storage.spool import AppendedFile, Outcome, Writer

READ_BYTES = 64 * 1024
_MARK = struct.Struct("!QQ")


class JobLog:
    """Text in a file. A line that can't be stored is lost; the job goes on.

    *stored* counts the bytes that can be read, *end* is the position in the agent's log up to which
    we have it. Both survive a restart, together.
    """

    def __init__(self, path: Path, *, writer: Writer, changed: Signal) -> None:
        self._path = path
        self._writer = writer
        self._changed = changed
        self._file = AppendedFile(path)
        self._marks = AppendedFile(_marks_of(path))
        self.stored, self.end = _mended(path)
        self._queued = self.stored

    def append(self, offset: int, end: int, text: str) -> None:
        """Take in the log from *offset* to *end*; a piece that ends in what is here is dropped.

        Raises:
            ProtocolError: Something before it is missing.
        """
        if offset > self.end:
            raise ProtocolError(f"a log begins at {offset}, {self.end} bytes are here")
        if end <= self.end:
            return
        data = text.encode()
        self.end = end
        self._queued += len(data)
        self._writer.append(self._file, data, lambda outcome: self._is_stored(outcome, len(data)))
        self._writer.append(self._marks, _MARK.pack(self._queued, end), _no_matter)

    def close(self) -> None:
        """Close the file behind what was appended."""
        self._writer.finish(self._marks, _no_matter)
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


def _marks_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.positions")


def _mended(path: Path) -> tuple[int, int]:
    """Return how long the text is and how far it reaches, cutting off what has no mark yet.

    A crash may have come between a piece and its mark; the agent sends that piece again.
    """
    if not path.exists():
        return 0, 0
    length, end = _last_mark(_marks_of(path))
    length = min(length, path.stat().st_size)
    os.truncate(path, length)
    return length, end


def _last_mark(marks: Path) -> tuple[int, int]:
    if not marks.exists():
        return 0, 0
    whole = marks.stat().st_size // _MARK.size * _MARK.size
    os.truncate(marks, whole)
    if not whole:
        return 0, 0
    with marks.open("rb") as file:
        file.seek(whole - _MARK.size)
        length, end = _MARK.unpack(file.read(_MARK.size))
    return length, end


def _no_matter(_: Outcome) -> None:
    """A mark that can't be written leaves the log as it was at the mark before."""
