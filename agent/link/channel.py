"""The session with waiting: what jobs send through and the link drains. It outlives every
connection."""

import asyncio
from collections import deque

from agent.errors import ProtocolError
from agent.protocol.codec import encode
from agent.protocol.messages import Limits, Message, Numbered
from agent.protocol.session import Frame, Session
from agent.telemetry import metrics

GATHERED = 64 * 1024
"""So many bytes of small frames go into one write."""
TEXT_BACKLOG = 1024 * 1024
LOOSE_BACKLOG = 1024
FLOOD_BACKLOG = 32 * 1024 * 1024
"""More than the results of an honest outage add up to, and little enough to hold."""


class Channel:
    """Safe for many jobs and one link on one event loop.

    Every method that changes the session wakes who waits for that change.
    """

    def __init__(self) -> None:
        self._session = Session(Limits())
        self._loose: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._waiting: dict[str, asyncio.Event] = {}

    @property
    def session(self) -> Session:
        """The session of now; `renew` makes another."""
        return self._session

    def post(self, message: Numbered) -> None:
        """Queue *message* before all data; never waits."""
        self._session.post(message)
        self._changed.set()

    async def post_patiently(self, job: str, message: Numbered) -> None:
        """Queue *message* of *job*; waits while too much text is on its way."""
        while self._session.text_backlog > TEXT_BACKLOG:
            await self._next_change(job)
        self._session.post(message)
        self._changed.set()

    def open_stream(self, job: str, *, offset: int) -> None:
        """Begin the content of *job* at *offset*."""
        self._session.open_stream(job, offset=offset)

    async def send_block(self, job: str, block: bytes | memoryview) -> None:
        """Queue the next bytes of *job*; returns when at most this block is still unsent.

        So the job reads one block ahead, and stops reading when the far end gives no credit.
        """
        self._session.offer(job, block)
        self._changed.set()
        while self._session.backlog(job) > len(block):
            await self._next_change(job)

    def finish(self, job: str, last: Numbered) -> None:
        """Queue the last message of *job* behind its data; never waits."""
        self._session.finish(job, last)
        self._changed.set()

    def drop_stream(self, job: str) -> None:
        """Forget unsent data of *job*."""
        self._session.drop_stream(job)

    def renew(self, limits: Limits) -> None:
        """Begin a new session: nothing of the old one is sent any more."""
        self._session = Session(limits)
        self.changed()

    def say(self, message: Message) -> None:
        """Queue a message that belongs to the link and not to the session.

        Raises:
            ProtocolError: The peer asks for answers and does not read them.
        """
        if len(self._loose) >= LOOSE_BACKLOG:
            raise ProtocolError("answers were asked for and not read", reason="rate_limited")
        self._loose.append(message)
        self._changed.set()

    def refuse_flood(self) -> None:
        """Check that there is room for answers to one more request.

        Raises:
            ProtocolError: The peer asks and asks, and does not acknowledge what it is answered.
        """
        if self._session.text_backlog > FLOOD_BACKLOG:
            raise ProtocolError("answers were asked for and not taken", reason="rate_limited")

    def forget_loose(self) -> None:
        """A new link begins: what was to be said on the old one has no meaning on it."""
        self._loose.clear()

    def changed(self) -> None:
        """Acks, credit or a new session arrived: wake the link and the waiting jobs."""
        metrics.session_unacked_bytes.set(self._session.unacked_bytes)
        self._changed.set()
        for event in self._waiting.values():
            event.set()

    def next_frame(self) -> Frame | None:
        """Return what the link sends now: link messages, the ack that is due, then the session's
        next."""
        if self._loose:
            return encode(self._loose.popleft())
        if ack := self._session.ack():
            return encode(ack)
        frame = self._session.next_frame()
        if isinstance(frame, bytes):
            for event in self._waiting.values():
                event.set()
        return frame

    def next_frames(self) -> list[Frame]:
        """Return what the link sends in one go; empty when there is nothing."""
        frames, size = [], 0
        while size < GATHERED and (frame := self.next_frame()) is not None:
            frames.append(frame)
            size += len(frame)
        return frames

    async def wait_for_frames(self) -> None:
        """Wait until there may be something to send; one caller, the link."""
        await self._changed.wait()
        self._changed.clear()

    async def flushed(self) -> None:
        """Wait until everything was sent and acknowledged."""
        while not self._session.idle:
            await self._next_change("")

    async def _next_change(self, job: str) -> None:
        event = self._waiting.setdefault(job, asyncio.Event())
        event.clear()
        try:
            await event.wait()
        finally:
            self._waiting.pop(job, None)
