"""What an upload is given, between the event loop that gives and the thread that sends."""

import asyncio
import threading
import time
from collections.abc import Callable

from agent.link.http import HttpConnection
from agent.link.window import Window
from agent.protocol.upload import Segment

UNDER_WAY = 2
"""Segments that are sent before the answer to the first of them is read."""


class Aborted(Exception):
    """Nobody wants the upload any more; for the thread alone."""


class Supply:
    """A window with a lock, and somebody waiting on either side.

    It keeps `UNDER_WAY` segments and the block that made them full, and no more. *segment_bytes*
    says how long a segment may be that begins now.
    """

    def __init__(self, window: Window, segment_bytes: Callable[[], int]) -> None:
        self._window = window
        self._segment_bytes = segment_bytes
        self._lock = threading.Condition()
        self._promised = 0
        """Where the segment under way ends; it has to be filled, or its request would hang."""
        self._connection: HttpConnection | None = None
        self._aborted = False
        self._failure: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Supply {self._window}>"

    # For the event loop.

    async def give(self, block: bytes | memoryview) -> None:
        """Take in the next bytes; waits while too much is under way, raises what `fail` was
        told."""
        with self._lock:
            self._window.give(block)
            self._lock.notify()
        await self._until(self._has_room)

    async def flushed(self) -> None:
        """Wait until everything is in safe hands; raises what `fail` was told."""
        await self._until(lambda: self._window.safe == self._window.given)

    def rest(self) -> tuple[int, list[memoryview]]:
        """Return where to go on, and what was given from there on."""
        with self._lock:
            return self._window.safe, self._window.rest()

    def abort(self) -> None:
        """Have the thread end, wherever it is; does not wait. Idempotent."""
        with self._lock:
            self._aborted = True
            if self._connection is not None:
                self._connection.abort()
            self._lock.notify()

    async def _until(self, fits: Callable[[], bool]) -> None:
        while not self._holds(fits):
            await self._news.wait()

    def _holds(self, fits: Callable[[], bool]) -> bool:
        with self._lock:
            self._news.clear()
            if self._failure is not None:
                raise self._failure
            return fits()

    def _has_room(self) -> bool:
        window = self._window
        return window.given < self._promised or window.held < UNDER_WAY * self._segment_bytes()

    # For the thread; all of these raise `Aborted`.

    @property
    def safe(self) -> int:
        """How far the content is in safe hands."""
        return self._window.safe

    @property
    def size(self) -> int:
        """Of the whole content."""
        return self._window.size

    def hold(self, connection: HttpConnection | None) -> None:
        """Let `abort` cut *connection*, or none any more."""
        with self._lock:
            self._connection = connection
            if connection is not None:
                self._require_wanted()

    def next_segment(self, *, wait: bool) -> Segment | None:
        """Return the next segment as soon as its first byte is there, None at the end; without
        *wait* also when nothing is there."""
        window = self._window
        with self._lock:
            while wait and window.sent == window.given < window.size:
                self._wait()
            if window.sent == window.given:
                return None
            self._promised = min(window.size, window.sent + self._segment_bytes())
            return Segment(window.sent, self._promised, window.size)

    def next_piece(self, most: int) -> memoryview:
        """Return the next bytes of the segment under way, up to *most*; waits for them."""
        with self._lock:
            while not (piece := self._window.take(most)):
                self._tell()
                self._wait()
            return piece

    def acknowledged(self, position: int) -> None:
        """Forget what is before *position*; raises OutOfWindow."""
        with self._lock:
            self._window.acknowledge(position)
        self._tell()

    def go_back(self, position: int) -> None:
        """Forget what is before *position*, and send all the rest again; raises OutOfWindow."""
        with self._lock:
            self._window.go_back(position)
            self._promised = 0
        self._tell()

    def pause(self, seconds: float) -> None:
        """Wait so long."""
        until = time.monotonic() + seconds
        with self._lock:
            while (left := until - time.monotonic()) > 0:
                self._wait(left)

    def fail(self, why: Exception) -> None:
        """Have the event loop's side raise *why*."""
        with self._lock:
            self._failure = why
        self._tell()

    def _wait(self, seconds: float | None = None) -> None:
        self._require_wanted()
        self._lock.wait(seconds)
        self._require_wanted()

    def _require_wanted(self) -> None:
        if self._aborted:
            raise Aborted

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            # The loop is closed: the program ends, and so does this thread.
            raise Aborted from None
