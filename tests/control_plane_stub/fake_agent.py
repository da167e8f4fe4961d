"""An agent at the level of the protocol: no policy, no stores, it says what a test tells it to."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, TypeVar
from uuid import uuid4

import websockets
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection

from agent.errors import Outcome, Reason
from agent.protocol.codec import decode, encode
from agent.protocol.messages import (
    CONNECT_PATH,
    ENROLL_PATH,
    FROM_CONTROL_PLANE,
    SUBPROTOCOL,
    Ack,
    Credit,
    Enroll,
    Hello,
    JobAccepted,
    JobContent,
    JobLog,
    JobRefused,
    JobResult,
    Message,
    OpenJob,
    Ping,
    Pong,
    Trailer,
    Welcome,
)
from agent.protocol.session import Session

M = TypeVar("M", bound=Message)
DEADLINE = 10.0


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Identity:
    """A key under a name, and the proofs made with it."""

    def __init__(self, agent: str = "prod-eu", instance: str | None = None) -> None:
        self._key = Ed25519PrivateKey.generate()
        raw = self._key.public_key().public_bytes_raw()
        self.agent, self.instance = agent, instance or f"i-{sha256(raw).hexdigest()[:20]}"

    @property
    def public_key(self) -> str:
        return base64url(self._key.public_key().public_bytes_raw())

    def proof(self, audience: str, **changes: Any) -> str:
        now = int(time.time())
        header = {"alg": "EdDSA", "typ": "cloud-agent-proof+jwt", "kid": self.instance}
        claims = {"iss": self.instance, "sub": self.agent, "aud": audience, "iat": now}
        claims |= {"exp": now + 60, "jti": uuid4().hex}
        header |= changes.pop("header", {})
        return self.sign(header, claims | changes)

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{base64url(self._key.sign(signed.encode()))}"


def ws_url(base: str, path: str) -> str:
    return base.replace("http", "ws", 1) + path


@asynccontextmanager
async def dialled(
    base: str, path: str, identity: Identity, *, proof: str | None = None
) -> AsyncIterator[ClientConnection]:
    """Open the WebSocket of *path* with a proof; no message is sent."""
    url = ws_url(base, path)
    headers = {"Authorization": f"Bearer {proof or identity.proof(url)}"}
    async with websockets.connect(
        url,
        additional_headers=headers,
        subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
        compression=None,
        proxy=None,
        max_size=4 * 1024 * 1024,
    ) as ws:
        yield ws


async def enroll(base: str, identity: Identity, token: str) -> Any:
    """Enrol; returns the answer, or raises `ConnectionClosed` with the refusal."""
    async with dialled(base, ENROLL_PATH, identity) as ws:
        message = Enroll(
            agent=identity.agent,
            instance=identity.instance,
            public_key=identity.public_key,
            join_token=token,
        )
        await ws.send(encode(message))
        return decode(str(await ws.recv()), FROM_CONTROL_PLANE)


class FakeAgent:
    """One link at a time; the session stays over links. Messages wait in `inbox` for the test."""

    def __init__(self, base: str, identity: Identity) -> None:
        self.base, self.identity = base, identity
        self.session: Session | None = None
        self.session_id: str | None = None
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.answers_pings = True
        self.open: dict[str, str] = {}
        self.credit: dict[str, int] = {}
        self.posture: dict[str, Any] = {"max_concurrent_jobs": 4}
        self.welcome: Welcome | None = None
        self.ws: ClientConnection | None = None
        self.reading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["FakeAgent"]:
        """Hold one link; returns from the block close it."""
        async with dialled(self.base, CONNECT_PATH, self.identity) as ws:
            await self._greet(ws)
            self.reading = asyncio.create_task(self._read(ws))
            try:
                yield self
            finally:
                self.reading.cancel()
                await asyncio.gather(self.reading, return_exceptions=True)

    async def ended(self) -> tuple[int | None, str | None]:
        """Wait until the link is closed by the other side; return code and reason."""
        assert self.ws is not None
        await asyncio.wait_for(self.ws.wait_closed(), DEADLINE)
        return self.ws.close_code, self.ws.close_reason

    async def next(self, kind: type[M]) -> M:
        """Return the next message of *kind*; others before it are dropped."""
        async with asyncio.timeout(DEADLINE):
            while True:
                message = await self.inbox.get()
                if isinstance(message, kind):
                    return message

    async def send(self, message: Any) -> None:
        assert self.session is not None
        self.session.post(message)
        await self.pump()

    async def accept(self, job: str, *, durable: bool = False) -> None:
        self.open[job] = "running"
        await self.send(JobAccepted(job=job, durable=durable))

    async def refuse(self, job: str, reason: Reason, **more: Any) -> None:
        await self.send(JobRefused(job=job, reason=reason, message="no", **more))

    async def log(self, job: str, offset: int, text: str) -> None:
        await self.send(JobLog(job=job, offset=offset, end=offset + len(text.encode()), text=text))

    async def begin(self, job: str, data: bytes, *, offset: int = 0, etag: str = "v1") -> None:
        """Announce *data* and offer it from *offset* on; it flows as credit allows."""
        assert self.session is not None
        await self.send(JobContent(job=job, size=len(data), etag=etag))
        self.session.open_stream(job, offset=offset)
        self.session.offer(job, data[offset:])
        await self.pump()

    async def finish(
        self, job: str, data: bytes = b"", *, outcome: Outcome = Outcome.SUCCEEDED, **more: Any
    ) -> None:
        """Send the result behind the blocks."""
        assert self.session is not None
        sha256 = hashlib.sha256(data).hexdigest() if data else None
        trailer = more.pop("trailer", Trailer(bytes=len(data), sha256=sha256))
        last = JobResult(job=job, outcome=outcome, trailer=trailer, **more)
        self.session.finish(job, last)
        self.open[job] = "finished"
        await self.pump()

    async def serve(self, job: str, data: bytes) -> None:
        """Accept, send and finish."""
        await self.accept(job)
        await self.begin(job, data)
        await self.finish(job, data)

    async def pump(self) -> None:
        """Send what the session lets out."""
        assert self.session is not None
        assert self.ws is not None
        while (frame := self.session.next_frame()) is not None:
            await self.ws.send(frame)

    async def _greet(self, ws: ClientConnection) -> None:
        self.ws = ws
        hello = Hello(
            agent=self.identity.agent,
            instance=self.identity.instance,
            version="0.0",
            labels={"region": "eu"},
            posture=self.posture,
            session=self.session_id,
            received=self.session.received if self.session else 0,
            jobs=[OpenJob.model_validate({"job": j, "state": s}) for j, s in self.open.items()],
        )
        await ws.send(encode(hello))
        welcome = decode(str(await ws.recv()), FROM_CONTROL_PLANE)
        assert isinstance(welcome, Welcome), welcome
        self.welcome = welcome
        if welcome.resumed and self.session:
            self.session.resume(welcome.received)
            await self.pump()
        else:
            self.session, self.session_id = Session(welcome.limits), welcome.session

    async def _read(self, ws: ClientConnection) -> None:
        assert self.session is not None
        try:
            async for text in ws:
                message: Any = decode(str(text), FROM_CONTROL_PLANE)
                if not hasattr(message, "seq") or self.session.take(message.seq):
                    await self._take(message)
        except websockets.ConnectionClosed:
            return

    async def _take(self, message: Any) -> None:
        assert self.session is not None
        assert self.ws is not None
        match message:
            case Ping() if self.answers_pings:
                await self.ws.send(encode(Pong(n=message.n)))
            case Ack():
                self.session.acknowledged(message.received)
            case Credit():
                self.credit[message.job] = message.up_to
                self.session.grant(message.job, message.up_to)
        self.inbox.put_nowait(message)
        await self.pump()
