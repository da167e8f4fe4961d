"""One WebSocket of one instance: hello, frames in, frames out, heartbeat. Knows nothing of jobs."""

import asyncio
from collections import deque
from typing import Any

import aiohttp
import structlog
from aiohttp import WSMsgType, web

from agent.errors import ProtocolError
from agent.protocol.codec import Unknown, decode, decode_block, encode
from agent.protocol.messages import (
    FROM_AGENT,
    PROTOCOL_VERSION,
    Ack,
    Hello,
    Message,
    Numbered,
    Ping,
    Pong,
    Unsupported,
)
from control_plane_stub.agents.acks import AckPacer
from control_plane_stub.agents.conversation import Conversation
from control_plane_stub.agents.faults import Faults
from control_plane_stub.agents.inbox import Inbox
from control_plane_stub.agents.instance import Instance
from control_plane_stub.agents.recording import Recorder
from control_plane_stub.agents.refusals import Refused, close_with

log = structlog.get_logger()

HELLO_TIMEOUT = 10.0
MISSED_BEATS = 3
PINGS_PER_BEAT = 50
"""WebSocket pings an agent may send per heartbeat before we take it for an attack."""

Frame = str | bytes


class AgentLink:
    """Runs one link to its end. Each frame is taken in once, whatever the faults do."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        *,
        inbox: Inbox,
        faults: Faults,
        recorder: Recorder | None,
    ) -> None:
        self._ws = ws
        self._transport = transport
        self._inbox = inbox
        self._recorder = recorder
        self._faults = faults
        self._scripted = faults.of_nobody
        self._loop = asyncio.get_running_loop()
        self._direct: deque[Frame] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._acks = AckPacer(self.kick)
        self._pings = self._number = 0
        self._pinged_at = self._heard_at = self._loop.time()
        self.ended = asyncio.Event()
        self._instance: Instance | None = None
        self._conversation: Conversation | None = None

    async def run(self, instance: Instance) -> None:
        """Greet, then talk until the link ends; closes it with a reason in any case."""
        try:
            await self._greet(instance)
            await self._read(instance)
        except Refused as refused:
            self.close(refused.reason, retry_after=refused.retry_after)
        except ProtocolError as error:
            log.warning("link.protocol_broken", instance=instance.name, error=str(error))
            instance.broken_at_frame()
            self.close(error.reason)
        finally:
            await self._end(instance)

    def kick(self) -> None:
        if self._flushing is None and self._closing is None:
            self._flushing = self._loop.create_task(self._flush(), name="link.flush")

    def close(self, reason: str, *, retry_after: float | None = None) -> None:
        """Hang up with *reason*; nothing is sent any more but the close frame. Idempotent."""
        if self._closing is None:
            closing = close_with(self._ws, reason, retry_after=retry_after)
            self._closing = self._loop.create_task(closing, name="link.close")

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        self._transport.abort()

    async def inject(self, frame: Frame) -> None:
        """Send *frame* as it is; for faults."""
        await self._send(frame)

    async def _greet(self, instance: Instance) -> None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                hello = await self._hello()
        except TimeoutError:
            raise Refused("heartbeat_lost") from None
        if (hello.agent, hello.instance) != (instance.agent, instance.name):
            raise Refused("identity_rejected")
        if PROTOCOL_VERSION not in hello.protocols:
            raise Refused("version_unsupported")
        self._direct.append(encode(instance.greet(hello)))
        self._instance, self._conversation = instance, instance.conversation
        self._scripted = self._faults.of(instance.agent, self)
        instance.attach(self)
        log.info("link.welcomed", agent=instance.agent, instance=instance.name)
        self._beat = self._loop.call_later(instance.heartbeat_s, self._heartbeat, instance)
        self.kick()

    async def _hello(self) -> Hello:
        received = await self._ws.receive()
        if received.type is not WSMsgType.TEXT:
            raise ProtocolError("the first frame is not hello")
        self._record("in", received.data)
        hello = decode(received.data, FROM_AGENT)
        if not isinstance(hello, Hello):
            raise ProtocolError("the first frame is not hello")
        return hello

    async def _read(self, instance: Instance) -> None:
        conversation = self._conversation
        assert conversation is not None
        while self._closing is None:
            received = await self._ws.receive()
            if self._scripted.active:
                await self._scripted.incoming(received.data)
            if received.type is WSMsgType.BINARY:
                self._take_block(instance, conversation, received.data)
            elif received.type is WSMsgType.TEXT:
                self._take_text(instance, conversation, received.data)
            elif received.type is WSMsgType.PING:
                await self._answer_ping(received.data)
            elif received.type is not WSMsgType.PONG:
                return

    def _take_block(self, instance: Instance, conversation: Conversation, frame: bytes) -> None:
        self._record("in", frame)
        self._heard_at = self._loop.time()
        block = decode_block(frame)
        if conversation.session.take(block.seq):
            self._inbox.block(instance, conversation, block)
        self._acks.count(len(frame))

    def _take_text(self, instance: Instance, conversation: Conversation, text: str) -> None:
        self._record("in", text)
        self._heard_at = self._loop.time()
        message: Any = decode(text, FROM_AGENT)
        match message:
            case Numbered():
                if conversation.session.take(message.seq):
                    self._inbox.message(instance, message)
                self._acks.count(len(text))
            case Ack():
                conversation.session.acknowledged(message.received)
                self.kick()
            case Ping():
                self._say(Pong(n=message.n))
            case Pong():
                self._take_pong(message)
            case Unknown():
                if message.seq:
                    conversation.session.take(message.seq)
                    self._acks.count(len(text))
                self._say(Unsupported(of=message.type))
            case Unsupported():
                log.info("link.unsupported", instance=instance.name, of=message.of)
            case _:
                raise ProtocolError(f"{message.type} came at the wrong time")

    def _take_pong(self, pong: Pong) -> None:
        if pong.n == self._number and self._instance is not None:
            self._instance.round_trip_s = self._loop.time() - self._pinged_at

    async def _answer_ping(self, data: bytes) -> None:
        self._pings += 1
        if self._pings > PINGS_PER_BEAT:
            raise Refused("rate_limited")
        await self._ws.pong(data)

    def _say(self, message: Message) -> None:
        self._direct.append(encode(message))
        self.kick()

    def _heartbeat(self, instance: Instance) -> None:
        """Ping; an agent without a whole message for some beats is gone, whatever TCP says.

        Pings of the WebSocket itself do not count: they stay healthy while a message drips in byte
        by byte.
        """
        if self._loop.time() - self._heard_at > MISSED_BEATS * instance.heartbeat_s:
            self.close("heartbeat_lost")
            return
        self._pings = 0
        self._number += 1
        self._pinged_at = self._loop.time()
        self._say(Ping(n=self._number))
        self._beat = self._loop.call_later(instance.heartbeat_s, self._heartbeat, instance)

    async def _flush(self) -> None:
        try:
            while self._closing is None and (frame := self._next_frame()) is not None:
                if self._scripted.active:
                    await self._scripted.outgoing(frame)
                else:
                    await self._send(frame)
        except (ConnectionError, aiohttp.ClientError):
            # The reader notices the same, and ends the link.
            return
        finally:
            self._flushing = None

    def _next_frame(self) -> Frame | None:
        if self._direct:
            return self._direct.popleft()
        if self._conversation is None:
            return None
        if (ack := self._acks.take(self._conversation)) is not None:
            return encode(ack)
        return self._conversation.session.next_frame()

    async def _send(self, frame: Frame) -> None:
        self._record("out", frame)
        if isinstance(frame, str):
            await self._ws.send_str(frame)
        else:
            await self._ws.send_bytes(frame)

    def _record(self, direction: str, frame: Frame) -> None:
        if self._recorder is not None:
            self._recorder.frame(direction, frame)

    async def _end(self, instance: Instance) -> None:
        if self._beat is not None:
            self._beat.cancel()
        self._acks.stop()
        self._scripted.detach(self)
        instance.detach(self)
        log.info("link.down", agent=instance.agent, instance=instance.name)
        if self._flushing is not None:
            self._flushing.cancel()
        try:
            if self._closing is not None:
                await asyncio.wait((self._closing,))
        finally:
            # The server cancels us when the peer hangs up first.
            self.ended.set()
