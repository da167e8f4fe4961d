"""The content of one job: taken in from the agent, given to readers, never more than its window.

Two kinds, one interface: `Kept` (in `kept`) is stored in a file and can be read again, `Relayed`
(in `relayed`) goes from the link to the one reader through memory. HTTP and the protocol's frames
do not belong here.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from agent.errors import ProtocolError
from control_plane_stub.signals import Signal
from control_plane_stub.storage.spool import Outcome

READER_WINDOW = 4 * 1024 * 1024
"""So far ahead of the slowest reader an agent may send."""


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


class Reading:
    """What both kinds share: how far readers may go, and how they end.

    *complete* is None until the end is known.
    """

    def __init__(self, changed: Signal) -> None:
        self.have = 0
        self.size: int | None = None
        self.on_read: Callable[[], None] | None = None
        self.changed = changed
        self.complete: bool | None = None

    def settle(self, *, complete: bool) -> None:
        self.complete = complete
        self.changed.notify()

    def wanting(self, position: int, stop: int) -> bool:
        """Whether a reader at *position* has not come to its end yet."""
        return position < stop or (stop == self.size and not self.complete)

    async def wait(self, version: int) -> None:
        """Wait for news, if there can be any.

        Raises:
            ContentAborted: There can be none.
        """
        if self.complete is False:
            raise ContentAborted
        await self.changed.newer_than(version)

    def was_read(self) -> None:
        """A reader came, went on or left: the allowance may be another."""
        if self.on_read is not None:
            self.on_read()
