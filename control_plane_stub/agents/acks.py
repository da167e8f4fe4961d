"""When to acknowledge: neither each frame, nor so late that the agent has to wait."""

import asyncio
from collections.abc import Callable

from agent.protocol.messages import Ack
from control_plane_stub.agents.conversation import Conversation

ACK_BYTES = 512 * 1024
ACK_FRAMES = 64
ACK_DELAY = 0.02


class AckPacer:
    """Calls *due* when enough frames or bytes came in, or a moment after the first of them."""

    def __init__(self, due: Callable[[], None]) -> None:
        self._when_due = due
        self._due = False
        self._bytes = self._frames = 0
        self._timer: asyncio.TimerHandle | None = None

    def count(self, size: int) -> None:
        """A frame of *size* bytes came in."""
        self._bytes += size
        self._frames += 1
        if self._bytes >= ACK_BYTES or self._frames >= ACK_FRAMES:
            self._now_due()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(ACK_DELAY, self._delayed)

    def take(self, conversation: Conversation) -> Ack | None:
        """Return the acknowledgement to send now, if one is due."""
        if not self._due:
            return None
        # It stays due while blocks are on their way to the disk; their writer kicks the link.
        self._due = bool(conversation.unsafe)
        self._bytes = self._frames = 0
        return conversation.session.ack(conversation.safe)

    def stop(self) -> None:
        """Call nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _delayed(self) -> None:
        self._timer = None
        self._now_due()

    def _now_due(self) -> None:
        self._due = True
        self._when_due()
