"""The bytes of one upload between the store and the control plane. No I/O, no locks, no waiting."""

from collections import deque


class OutOfWindow(ValueError):
    """The control plane named a position that it can't have reached, or has given up."""


class Window:
    """Keeps what was given and is not yet in safe hands, so that it can be sent again.

    Positions count from the beginning of the content: ``safe <= sent <= given <= size``.
    """

    def __init__(self, *, offset: int, size: int) -> None:
        self.size = size
        self.safe = self.sent = self.given = offset
        self._unsafe: deque[memoryview] = deque()
        self._unsent: deque[memoryview] = deque()

    def __repr__(self) -> str:
        return f"<Window safe={self.safe} sent={self.sent} given={self.given} of {self.size}>"

    @property
    def held(self) -> int:
        """How many bytes are kept."""
        return self.given - self.safe

    def give(self, block: bytes | memoryview) -> None:
        """Take in the next bytes, without a copy."""
        if len(block):
            self._unsent.append(memoryview(block))
            self.given += len(block)

    def take(self, most: int) -> memoryview:
        """Return the next bytes to send, up to *most*, and count them as sent; none when all
        are."""
        if not self._unsent:
            return memoryview(b"")
        piece = self._unsent.popleft()
        if len(piece) > most:
            self._unsent.appendleft(piece[most:])
            piece = piece[:most]
        self._unsafe.append(piece)
        self.sent += len(piece)
        return piece

    def acknowledge(self, position: int) -> None:
        """Everything before *position* is in safe hands, and forgotten.

        Raises:
            OutOfWindow: It was not sent, or less than what was in safe hands before.
        """
        if not self.safe <= position <= self.sent:
            raise OutOfWindow(f"{position} is outside of {self.safe} to {self.sent}")
        while self.safe < position:
            piece = self._unsafe.popleft()
            left = position - self.safe
            if len(piece) > left:
                self._unsafe.appendleft(piece[left:])
            self.safe += min(left, len(piece))

    def go_back(self, position: int) -> None:
        """Everything before *position* is in safe hands; what was sent behind it is sent again.

        Raises:
            OutOfWindow: As in `acknowledge`.
        """
        self.acknowledge(position)
        self._unsent.extendleft(reversed(self._unsafe))
        self._unsafe.clear()
        self.sent = self.safe

    def rest(self) -> list[memoryview]:
        """Return all that is kept, in order."""
        return [*self._unsafe, *self._unsent]
