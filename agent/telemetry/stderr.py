"""Writes whole lines to standard error without ever holding up the program; renders nothing."""

import os
import select
import sys
import threading
import time

_FD = 2
_PATIENCE_S = 0.1
_PIPE_ATOM = 4096  # Where poll() reports room in a pipe, this much can be written without waiting.


class Stderr:
    """A log's way out. Every method may be called from any thread and none raises.

    A reader that has stopped (a full pipe) costs the first line up to 0.1 s and the later ones
    nothing: they are dropped and counted until there is room again. When it is closed, all are.
    """

    def __init__(self, fd: int = _FD) -> None:
        # Closed at start, its number goes to the next file or socket that is opened.
        self._fd = -1 if fd == _FD and sys.__stderr__ is None else fd
        self._lock = threading.Lock()
        self._stalled = False
        self._torn = False
        self.dropped = 0

    def write_line(self, line: str) -> bool:
        """Write *line* and a newline; return whether all of it was written."""
        with self._lock:
            data = line.encode("utf-8", "backslashreplace") + b"\n"
            written = self._write(b"\n" + data if self._torn else data)
            self.dropped += not written
            self._stalled = not written
            return written

    def take_dropped(self) -> int:
        """Return how many lines were dropped since the last call."""
        with self._lock:
            dropped, self.dropped = self.dropped, 0
            return dropped

    def _write(self, data: bytes) -> bool:
        until = time.monotonic() + (0 if self._stalled else _PATIENCE_S)
        rest = memoryview(data)
        try:
            while rest and self._has_room(until - time.monotonic()):
                rest = rest[os.write(self._fd, rest[:_PIPE_ATOM]) :]
        except OSError:  # Closed, or its reader is gone; there is nowhere left to say so.
            return False
        if len(rest) < len(data):
            self._torn = bool(rest)
        return not rest

    def _has_room(self, timeout: float) -> bool:
        if self._fd < 0:
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(max(0, timeout * 1000)))
