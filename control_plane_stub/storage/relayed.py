"""Content in memory, for one reader, once. What readers may rely on stands in `content`."""

from collections import deque
from collections.abc import AsyncGenerator, Callable

from control_plane_stub.signals import Signal
from control_plane_stub.storage.content import READER_WINDOW, ReaderTaken, Reading
from control_plane_stub.storage.spool import Digest, Outcome, Sink, Writer

HASHED_AT_ONCE = 64 * 1024
"""Content up to this size is hashed on the loop: cheaper than a turn of the thread."""


class Relayed(Reading):
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
        self.changed.notify()
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
        if not self.complete or self._taken:
            return None
        self._taken = True
        pieces, self._pieces = self._pieces, deque()
        return list(pieces)

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes | memoryview, None]:
        if self._taken or self._abandoned:
            raise ReaderTaken
        self._taken = True
        self.was_read()
        try:
            async for piece in self._handing_out(start, stop):
                yield piece
        finally:
            self.abandon()

    async def _handing_out(self, start: int, stop: int) -> AsyncGenerator[memoryview, None]:
        while self.wanting(self._handed, stop):
            version = self.changed.version
            if not self._pieces or not self._may_hand_out():
                await self.wait(version)
                continue
            piece = self._pieces.popleft()
            self._handed += len(piece)
            if self._handed > start:
                yield piece[max(0, len(piece) - (self._handed - start)) :]
            self.was_read()

    @property
    def _small(self) -> bool:
        return self.size is not None and self.size <= HASHED_AT_ONCE

    def _may_hand_out(self) -> bool:
        return bool(self.complete) or len(self._pieces) > 1 or self.have != self.size
