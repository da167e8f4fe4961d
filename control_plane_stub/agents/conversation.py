"""One session with an agent, and what it needs of the link that it has at the moment."""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from agent.protocol.session import Session


class Link(Protocol):
    """The connection an instance has at the moment."""

    def kick(self) -> None:
        """Send what the session has to send; does not wait."""

    def close(self, reason: str) -> None:
        """Hang up with a close reason; does not wait."""


@dataclass(slots=True, eq=False)
class Conversation:
    """One session, and which of its blocks are not in safe hands yet."""

    id: str
    session: Session
    unsafe: deque[int] = field(default_factory=deque)

    @property
    def safe(self) -> int:
        """The highest number that may be acknowledged."""
        return self.unsafe[0] - 1 if self.unsafe else self.session.received
