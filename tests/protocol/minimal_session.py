"""The conversation of the minimal control plane with one agent; § cites agent/protocol/README.md.

Its memory is its "safe hands" (§5). Who may connect, and when, is not its business.
"""

import asyncio
import hashlib
import json
import secrets
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field

from websockets import ServerConnection

from tests.protocol.minimal_identity import Message, number, parse, require

WINDOW, BLOCK, TEXT, CREDIT, HEARTBEAT_S = 4 << 20, 256 << 10, 1 << 20, 1 << 20, 15.0
BINARY = b"block"  # the type of a binary frame: no text frame can have it
JOB_TYPES = ["job." + word for word in "accepted refused progress log result content".split()]


class IncompleteError(Exception):
    """We do not hold all that the job's trailer counts (§7), or the job's session is lost (§8)."""


@dataclass
class Finished:
    """How a job ended; `content` is whole, and empty unless the job succeeded."""

    outcome: str
    reason: str
    message: str
    result: Message
    content: bytes
    log: str


def read_block(frame: bytes) -> Message:
    """§3: a binary frame."""
    version, zero, length, seq, offset = struct.unpack_from(">BBHQQ", frame)
    require((version, zero) == (1, 0) and 1 <= length <= min(128, len(frame) - 20))
    job, data = frame[20 : 20 + length].decode("ascii"), frame[20 + length :]
    return {"type": BINARY, "seq": seq, "job": job, "offset": offset, "data": data}


@dataclass(eq=False)
class Job:
    """A job, and what we hold of it; `done` becomes its result or its refusal (§6)."""

    request: Message
    done: asyncio.Future[Message]
    content: bytearray = field(default_factory=bytearray)
    granted: int = CREDIT
    size: int | None = None
    log: str = ""
    log_end: int = 0

    def take_block(self, offset: int, data: bytes) -> None:
        """§7: announced, no larger than agreed, without a gap, and within size and credit."""
        require(self.size is not None and offset == len(self.content) and len(data) <= BLOCK)
        require(offset + len(data) <= min(self.granted, self.size or 0))
        self.content += data

    def finish(self, end: Message) -> Finished:
        """§7: content is complete only with its trailer."""
        outcome, trailer = end.get("outcome", "refused"), end.get("trailer", {})
        digest = None if self.size is None else hashlib.sha256(self.content).hexdigest()
        held = (len(self.content), digest, self.log_end)
        told = tuple(trailer.get(name) for name in ("bytes", "sha256", "log_end"))
        if outcome == "succeeded" and held != told:
            raise IncompleteError(f"we hold {held}, the trailer is {told}")
        content = bytes(self.content) if outcome == "succeeded" else b""
        said = (end.get("reason", ""), end.get("message", ""), end.get("result", {}))
        return Finished(outcome, *said, content, self.log)


class Session:
    """§5: the numbers of both sides, what is not acknowledged, and the jobs."""

    def __init__(self) -> None:
        self.name, self.news = "s-" + secrets.token_hex(8), asyncio.Event()
        self.jobs: dict[str, Job] = {}
        self.unacked: dict[int, str] = {}
        self.last = self.received = 0

    def welcome(self, resumed: bool) -> Message:
        """§4: the answer to `hello`; jobs that are not named are forgotten (§8)."""
        limits = {"window_bytes": WINDOW, "block_bytes": BLOCK, "text_bytes": TEXT}
        limits["credit_bytes"] = CREDIT
        numbers = {"received": self.received, "heartbeat_s": HEARTBEAT_S, "limits": limits}
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        greeting = {"type": "welcome", "protocol": 1, "session": self.name, "resumed": resumed}
        return greeting | numbers | {"jobs": [], "capabilities": [], "time": now}

    def post(self, kind: str, /, **fields: object) -> None:
        """§5: number a message, and keep it until it is acknowledged."""
        self.last += 1
        self.unacked[self.last] = json.dumps({"type": kind, "seq": self.last, **fields})
        self.news.set()

    def has(self, upto: int) -> bool:
        """§5: whether all that follows `upto` is still kept."""
        return self.last - len(self.unacked) <= upto <= self.last

    def acknowledged(self, upto: int) -> None:
        """§5: forget what the agent has in safe hands."""
        require(upto <= self.last)
        self.unacked = {seq: text for seq, text in self.unacked.items() if seq > upto}

    async def write(self, socket: ServerConnection, sent: int, acked: int) -> None:
        """§5: send in order what follows `sent`, and acknowledge within 50 ms."""
        while True:
            self.news.clear()
            for seq, text in [item for item in self.unacked.items() if item[0] > sent]:
                await socket.send(text)
                sent = seq
            if acked < self.received:
                acked = self.received
                await socket.send(json.dumps({"type": "ack", "received": acked}))
            with suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), 0.04)

    async def converse(self, socket: ServerConnection, sent: int) -> None:
        """Take frames until the connection ends, or three heartbeats of silence end it (§9)."""
        writer = asyncio.create_task(self.write(socket, sent, self.received))
        writer.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            while True:
                frame = await asyncio.wait_for(socket.recv(), 3 * HEARTBEAT_S)
                if reply := self.take(frame):
                    await socket.send(json.dumps(reply))
        finally:
            writer.cancel()

    def take(self, frame: str | bytes) -> Message | None:
        """§3, §5: take a frame once, and say what to answer."""
        message = parse(frame) if isinstance(frame, str) else read_block(frame)
        kind = message["type"]
        require(isinstance(kind, str | bytes) and kind not in ("hello", "enroll"))
        if kind == "ack":
            self.acknowledged(number(message["received"]))
        if kind in ("ping", "pong", "ack", "unsupported"):
            return {"type": "pong", "n": message["n"]} if kind == "ping" else None
        known = kind in (*JOB_TYPES, BINARY, "agent.status")
        answer = None if known else {"type": "unsupported", "of": kind}
        if answer and "seq" not in message:
            return answer
        seq = number(message["seq"])
        require(1 <= seq <= self.received + 1)
        if seq <= self.received:
            return None
        if job := self.jobs.get(message.get("job", "")):
            self.advance(job, message)
        self.received = seq
        if seq % (WINDOW // BLOCK // 4) == 0:
            self.news.set()
        return answer

    def advance(self, job: Job, message: Message) -> None:
        """§6, §7: what a message of a job does to it; an ended job takes no more."""
        name, kind = job.request["job"], message["type"]
        if kind == "job.content":
            job.size = number(message["size"])
        elif kind == "job.log" and number(message["offset"]) >= job.log_end:
            job.log, job.log_end = job.log + message["text"], number(message["end"])
        elif kind == BINARY:
            job.take_block(message["offset"], message["data"])
            if job.granted - len(job.content) <= CREDIT // 2:
                job.granted = len(job.content) + CREDIT
                self.post("credit", job=name, up_to=job.granted)
        elif kind in ("job.refused", "job.result"):
            del self.jobs[name]
            if kind == "job.result":
                self.post("job.settled", job=name)
            if not job.done.done():
                job.done.set_result(message)
