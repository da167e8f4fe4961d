"""One persistent outbound connection: dial, greet, read, write, back off. For ever.

What the messages mean belongs to the session and to jobs.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from websockets.exceptions import ConnectionClosed

from agent.errors import LinkRefused, ProtocolError, UsageError
from agent.identity import Identity
from agent.link.backoff import Backoff
from agent.link.channel import Channel
from agent.link.connection import LinkConnection
from agent.link.dial import DialFailed, Endpoint, dial, hang_up
from agent.link.ending import End, closed, refused
from agent.link.heartbeat import Heartbeat
from agent.link.uploads import Uploads
from agent.protocol.close_reasons import CLOSE_POLICIES, describe
from agent.protocol.codec import Unknown, decode, encode
from agent.protocol.messages import (
    FROM_CONTROL_PLANE,
    PROTOCOL_VERSION,
    Ack,
    Credit,
    Enrolled,
    Hello,
    JobCancel,
    JobRequest,
    JobSettled,
    Message,
    OpenJob,
    Ping,
    Pong,
    Standing,
    Unsupported,
    Welcome,
)
from agent.telemetry import metrics
from agent.telemetry.logs import get_logger

GREETING_TIMEOUT = 20.0
POISONED = ("protocol_error", "frame_too_large", "closed_1002", "closed_1007", "closed_1009")
"""Ends that a frame has caused, ours or the peer's."""

log = get_logger()


class Work(Protocol):
    """What the link needs of the jobs. None of these methods waits."""

    def deliver(self, message: JobRequest | JobCancel | JobSettled) -> None:
        """Take in a message, each exactly once and in order within a session."""

    def open_jobs(self) -> list[OpenJob]:
        """Return the jobs whose outcome is still owed."""

    def new_session(self, standings: list[Standing]) -> None:
        """The control plane knows nothing of the former session; it holds this much of each open
        job."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """What `hello` says of this instance, apart from its state."""

    version: str
    labels: dict[str, str]
    capabilities: list[str]
    max_concurrent_jobs: int


class Link:
    """Keeps this instance connected. Never gives up, never spins."""

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        *,
        channel: Channel,
        uploads: Uploads,
        introduction: Callable[[], Introduction],
        backoff: Backoff,
    ) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._channel = channel
        self._uploads = uploads
        self._introduction = introduction
        self._backoff = backoff
        self._session_id: str | None = None
        self._stuck_at: tuple[str, int] | None = None
        self._welcomed_at: float | None = None
        self._heartbeat = Heartbeat(channel)
        self.up = False
        """Whether the control plane has welcomed us on the present connection."""
        self.last_refusal: str | None = None
        """Why we are not up, as a close reason or outcome; None while up."""
        self.draining = False

    def __repr__(self) -> str:
        return f"<Link {'up' if self.up else 'down'} {self._endpoint.url}>"

    async def run(self, work: Work) -> None:
        """Stay connected until cancelled, and then hang up."""
        while True:
            end = await self._connect_once(work)
            self.last_refusal = end.reason
            self._give_up_what_is_stuck(end.reason)
            metrics.link_connects.labels(end.outcome).inc()
            delay = self._backoff.delay(
                lasted=0.0 if self._welcomed_at is None else time.monotonic() - self._welcomed_at,
                retry_after=end.retry_after,
                final=end.final,
            )
            level = log.error if end.final or end.local else log.warning
            level("link.down", reason=end.reason, message=end.message, retry_in=round(delay, 2))
            await asyncio.sleep(delay)

    def _give_up_what_is_stuck(self, reason: str) -> None:
        """Ask for a new session when this one breaks twice at the same frame.

        A frame that one side can't take comes again with each resumption, without end; in a new
        session the jobs go on from their standing instead.
        """
        if self._session_id is None or reason not in POISONED:
            return
        here = (self._session_id, self._channel.session.received)
        if here == self._stuck_at:
            log.warning("session.given_up", reason=reason)
            self._session_id = None
        self._stuck_at = here

    async def _connect_once(self, work: Work) -> End:
        self._welcomed_at = None
        proof = self._identity.proof(
            self._endpoint.url, now=time.time(), nonce=secrets.token_urlsafe(16)
        )
        headers = {"Authorization": f"Bearer {proof}"}
        try:
            connection = await dial(self._endpoint, headers, version=self._introduction().version)
        except LinkRefused as exc:
            return refused(exc)
        except DialFailed as exc:
            return End(exc.outcome, exc.outcome, str(exc))
        except UsageError as exc:
            # Certificates are rotated under a running agent: a bad moment must not end it.
            return End("tls", "tls", str(exc), local=True)
        try:
            return await self._serve(connection, work)
        finally:
            self.up = False
            metrics.link_up.set(0)
            await hang_up(connection, code=1001)

    async def _serve(self, connection: LinkConnection, work: Work) -> End:
        """Talk until the connection ends; say why it did."""
        broken: ProtocolError | None = None
        try:
            async with asyncio.timeout(GREETING_TIMEOUT):
                interval = await self._greet(connection, work)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(connection), name="link.write")
                tasks.create_task(self._heartbeat.beat(connection, interval), name="link.beat")
                await self._read(connection, work)
        except* ConnectionClosed:
            log.debug("link.closed", code=connection.close_code)
        except* TimeoutError:
            broken = ProtocolError("no welcome in time", reason="heartbeat_lost")
        except* ProtocolError as group:
            broken = _first(group)
        _raise_if_cancelled()
        if broken is None:
            return closed(connection)
        code = CLOSE_POLICIES[broken.reason].code
        await hang_up(connection, code=code, reason=describe(broken.reason))
        return End(broken.reason, message=str(broken))

    async def _greet(self, connection: LinkConnection, work: Work) -> float:
        introduction = self._introduction()
        session = self._channel.session
        hello = Hello(
            agent=self._identity.agent,
            instance=self._identity.instance,
            version=introduction.version,
            labels=introduction.labels,
            capabilities=introduction.capabilities,
            posture={"max_concurrent_jobs": introduction.max_concurrent_jobs},
            session=self._session_id,
            received=session.received if self._session_id else 0,
            jobs=work.open_jobs(),
            draining=self.draining,
        )
        await self._send(connection, encode(hello))
        welcome = decode(await _text(connection), FROM_CONTROL_PLANE)
        if not isinstance(welcome, Welcome) or welcome.protocol != PROTOCOL_VERSION:
            raise ProtocolError("the answer to hello was no welcome")
        self._channel.forget_loose()
        self._uploads.welcome(welcome.upload)
        if welcome.resumed:
            self._resume(welcome)
        else:
            self._session_id = welcome.session
            self._channel.renew(welcome.limits)
            work.new_session(welcome.jobs)
        self.up, self.last_refusal, self._welcomed_at = True, None, time.monotonic()
        metrics.link_up.set(1)
        log.info("link.up", session=welcome.session, resumed=welcome.resumed)
        return welcome.heartbeat_s

    def _resume(self, welcome: Welcome) -> None:
        if welcome.session != self._session_id:
            raise ProtocolError("a session was resumed that is not ours")
        session = self._channel.session
        # Should the two sides not fit, then never again: the next hello asks for a new session.
        self._session_id = None
        session.resume(welcome.received)
        session.limits, self._session_id = welcome.limits, welcome.session
        self._channel.changed()

    async def _read(self, connection: LinkConnection, work: Work) -> None:
        while True:
            self._take(decode(await _text(connection), FROM_CONTROL_PLANE), work)

    def _take(self, message: Message | Unknown, work: Work) -> None:
        """Handle one message without waiting, so that the reader is back at the socket at once."""
        channel = self._channel
        match message:
            case Ack(received=received):
                channel.session.acknowledged(received)
                channel.changed()
            case Credit(seq=seq, job=job, up_to=up_to):
                if channel.session.take(seq):
                    channel.session.grant(job, up_to)
                channel.changed()
            case JobRequest() | JobCancel() | JobSettled():
                if isinstance(message, JobRequest):
                    channel.refuse_flood()
                if channel.session.take(message.seq):
                    work.deliver(message)
                channel.changed()
            case Ping(n=n):
                channel.say(Pong(n=n))
            case Pong(n=n):
                self._heartbeat.answered(n)
            case Unknown(type=kind, seq=seq):
                if seq and not channel.session.take(seq):
                    return
                channel.say(Unsupported(of=kind))
                log.info("link.unsupported", type=kind)
            case Unsupported(of=kind):
                log.warning("link.peer_does_not_support", type=kind)
            case Welcome() | Enrolled():
                raise ProtocolError("a second welcome on one link")

    async def _write(self, connection: LinkConnection) -> None:
        while True:
            frames = self._channel.next_frames()
            if frames:
                metrics.link_sent.inc(sum(map(len, frames)))
                await connection.send_all(frames)
            else:
                await self._channel.wait_for_frames()

    async def _send(self, connection: LinkConnection, frame: str | bytes) -> None:
        metrics.link_sent.inc(len(frame))
        await connection.send(frame)


def _raise_if_cancelled() -> None:
    """Before Python 3.13, a TaskGroup that is cancelled while one of its tasks fails forgets it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _first(group: BaseExceptionGroup[ProtocolError]) -> ProtocolError:
    leaves: BaseException = group
    while isinstance(leaves, BaseExceptionGroup):
        leaves = leaves.exceptions[0]
    assert isinstance(leaves, ProtocolError)
    return leaves


async def _text(connection: LinkConnection) -> str:
    message = await connection.recv()
    if not isinstance(message, str):
        raise ProtocolError("the control plane sent a binary frame")
    return message
