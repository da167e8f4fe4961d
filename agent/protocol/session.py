"""One side of the numbered, acknowledged, resumable conversation that survives many links.

Plain state: no I/O, no clock, no waiting. Both ends use it. What to do with a message, and when to
acknowledge, is the caller's part.
"""

from collections import deque
from dataclasses import dataclass, field

from agent.errors import ProtocolError
from agent.protocol.codec import encode, encode_block, numbered
from agent.protocol.messages import Ack, Limits, Numbered

YOUNG_BYTES = 512 * 1024
"""A stream that has sent less than this goes before older ones, so that a small one never waits for
bulk."""

MOST_EARLY_CREDITS = 4096
"""Jobs whose credit is remembered before their content begins; bounds what a peer makes us keep."""

Frame = str | bytes


@dataclass(slots=True)
class _Sent:
    seq: int
    frame: Frame
    data_bytes: int


@dataclass(slots=True)
class _Stream:
    """What one job still has to send, in order: blocks, and at the end its result."""

    job: str
    offset: int
    credit: int
    sent: int = 0
    queued_bytes: int = 0
    queue: deque[memoryview | str] = field(default_factory=deque)

    @property
    def young(self) -> bool:
        return self.sent < YOUNG_BYTES


class Session:
    """Numbers what goes out, keeps it until it is acknowledged, and takes in each of the peer's
    frames once.

    Messages given to `post` overtake the blocks of streams; streams share what the window leaves;
    nothing overtakes within a stream. Memory is bounded by the window, by what callers queue (see
    `backlog` and `text_backlog`), and by nothing else.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.received = 0
        """The highest number taken in from the peer."""
        self._told = 0
        self._last = 0
        self._unacked: deque[_Sent] = deque()
        self._replay: deque[_Sent] = deque()
        self._urgent: deque[str] = deque()
        self._streams: dict[str, _Stream] = {}
        self._early_credit: dict[str, int] = {}
        self.unacked_bytes = 0
        """Data in blocks, sent and not yet acknowledged."""
        self.text_backlog = 0
        """Messages queued, or sent and not yet acknowledged, in bytes; callers pause logs by it."""

    def __repr__(self) -> str:
        return (
            f"<Session received={self.received} sent={self._last} unacked={len(self._unacked)} "
            f"queued={len(self._urgent)} streams={len(self._streams)}>"
        )

    def take(self, seq: int) -> bool:
        """Take in the peer's frame *seq*; False when it is a repetition, to be dropped.

        Raises:
            ProtocolError: A frame before it is missing, or it has no number.
        """
        if not 0 < seq <= self.received + 1:
            raise ProtocolError(f"frame {seq} came after frame {self.received}")
        if seq <= self.received:
            return False
        self.received = seq
        return True

    def ack(self, up_to: int | None = None) -> Ack | None:
        """Return the acknowledgement that is due, if any, and count it as sent.

        *up_to* limits it to what the caller has in safe hands; default is all that was received.
        """
        safe = self.received if up_to is None else min(up_to, self.received)
        if safe <= self._told:
            return None
        self._told = safe
        return Ack(received=safe)

    def acknowledged(self, up_to: int) -> None:
        """The peer has everything up to *up_to*; idempotent.

        Raises:
            ProtocolError: *up_to* was never sent.
        """
        if up_to > self._last:
            raise ProtocolError(
                f"frame {up_to} was acknowledged, {self._last} was the last one sent"
            )
        while self._unacked and self._unacked[0].seq <= up_to:
            sent = self._unacked.popleft()
            self.unacked_bytes -= sent.data_bytes
            if isinstance(sent.frame, str):
                self.text_backlog -= len(sent.frame)
        while self._replay and self._replay[0].seq <= up_to:
            self._replay.popleft()

    def resume(self, their_received: int) -> None:
        """A new link is up and the peer has everything up to *their_received*; the rest is sent
        again.

        Raises:
            ProtocolError: The peer has lost frames that it had acknowledged, or claims more than
                was sent.
        """
        self.acknowledged(their_received)
        first_kept = self._unacked[0].seq if self._unacked else self._last + 1
        if their_received + 1 < first_kept:
            raise ProtocolError(f"the peer lost acknowledged frames, after {their_received}")
        self._replay = deque(self._unacked)
        self._told = self.received

    def post(self, message: Numbered) -> None:
        """Queue *message*, which has no number yet, before all blocks."""
        text = encode(message)
        self._urgent.append(text)
        self.text_backlog += len(text)

    def open_stream(self, job: str, *, offset: int = 0) -> None:
        """Begin the content of *job* at *offset*, with the initial credit behind it."""
        early = self._early_credit.pop(job, 0)
        credit = max(early, offset + self.limits.credit_bytes)
        self._streams[job] = _Stream(job, offset, credit)

    def offer(self, job: str, block: bytes | memoryview) -> None:
        """Queue the next bytes of the content of *job*; no copy is made before they are sent."""
        stream = self._streams[job]
        if len(block):
            stream.queue.append(memoryview(block))
            stream.queued_bytes += len(block)

    def finish(self, job: str, last: Numbered) -> None:
        """Queue the last message of *job* behind its blocks, and end its stream with it."""
        self._early_credit.pop(job, None)
        stream = self._streams.get(job)
        if stream is None:
            self.post(last)
        else:
            stream.queue.append(encode(last))

    def drop_stream(self, job: str) -> None:
        """Forget what *job* has queued; what is sent stays sent. Idempotent.

        Credit that came early is kept: it is for the next attempt at the job.
        """
        self._streams.pop(job, None)

    def grant(self, job: str, up_to: int) -> None:
        """The content of *job* may be sent up to byte *up_to*; never takes credit back.

        May come before the stream is opened, as for a job that is begun again.
        """
        stream = self._streams.get(job)
        if stream is not None:
            stream.credit = max(stream.credit, up_to)
            return
        self._early_credit[job] = max(up_to, self._early_credit.pop(job, 0))
        if len(self._early_credit) > MOST_EARLY_CREDITS:
            del self._early_credit[next(iter(self._early_credit))]

    def backlog(self, job: str) -> int:
        """Return how many bytes of *job* are queued and not yet sent."""
        stream = self._streams.get(job)
        return stream.queued_bytes if stream else 0

    @property
    def idle(self) -> bool:
        """Whether everything was sent and acknowledged."""
        return not (self._unacked or self._urgent or self._streams)

    def next_frame(self) -> Frame | None:
        """Return the frame to send now, or None until something changes.

        First what a lost link swallowed, then messages, then blocks: young streams first, the
        others in turn.
        """
        if self._replay:
            return self._replay.popleft().frame
        if self._urgent:
            text = self._urgent.popleft()
            self.text_backlog -= len(text)
            return self._number(text)
        stream = self._next_stream()
        if stream is None:
            return None
        head = stream.queue[0]
        if isinstance(head, str):
            del self._streams[stream.job]
            return self._number(head)
        return self._cut_block(stream, head)

    def _number(self, text: str) -> str:
        self._last += 1
        frame = numbered(text, self._last)
        self._unacked.append(_Sent(self._last, frame, 0))
        self.text_backlog += len(frame)
        return frame

    def _next_stream(self) -> _Stream | None:
        chosen = None
        for stream in self._streams.values():
            if self._may_send(stream) and (chosen is None or (stream.young and not chosen.young)):
                chosen = stream
                if stream.young:
                    break
        if chosen is not None:
            self._streams[chosen.job] = self._streams.pop(chosen.job)
        return chosen

    def _may_send(self, stream: _Stream) -> bool:
        if not stream.queue:
            return False
        head = stream.queue[0]
        if isinstance(head, str):
            return True
        if stream.credit <= stream.offset:
            return False
        # A quarter of the window is kept for young streams. A block is not cut smaller only because
        # the window is nearly full: many small frames would cost more than the short wait.
        window = self.limits.window_bytes * (4 if stream.young else 3) // 4
        wanted = min(len(head), self.limits.block_bytes, stream.credit - stream.offset)
        return self.unacked_bytes == 0 or self.unacked_bytes + wanted <= window

    def _cut_block(self, stream: _Stream, head: memoryview) -> bytes:
        size = min(len(head), self.limits.block_bytes, stream.credit - stream.offset)
        if size == len(head):
            stream.queue.popleft()
        else:
            stream.queue[0] = head[size:]
        self._last += 1
        frame = encode_block(self._last, stream.job, stream.offset, head[:size])
        self._unacked.append(_Sent(self._last, frame, size))
        self.unacked_bytes += size
        stream.offset += size
        stream.sent += size
        stream.queued_bytes -= size
        return frame
