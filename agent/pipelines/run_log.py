"""Writes what a pipeline prints to its log, without secrets and up to a limit.

Standard library only; the reader of this file is `log_reader`.
"""

import os
from pathlib import Path

from agent.guard.redaction import ByteStream


class RunLog:
    """Appends to one file; a full disk costs the rest of the log, never the run."""

    def __init__(self, path: Path, *, redaction: ByteStream, limit: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._redaction = redaction
        self._limit = limit
        self._room = limit

    def write(self, chunk: bytes) -> None:
        """Append *chunk*; what may be the beginning of a secret waits for what follows it."""
        self._append(self._redaction.feed(chunk))

    def close(self) -> None:
        """Append what was held back, and close the file."""
        self._append(self._redaction.flush())
        os.close(self._file)

    def _append(self, shown: bytes) -> None:
        if len(shown) > self._room >= 0:
            shown = shown[: self._room] + f"\n[log cut after {self._limit} bytes]\n".encode()
            self._room = -1
        elif self._room >= 0:
            self._room -= len(shown)
        else:
            return
        try:
            _write_all(self._file, shown)
        except OSError:
            self._room = -1


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
