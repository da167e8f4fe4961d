"""A control plane on a real socket that does, connection by connection, what a test wrote down.

It checks nothing of what the agent sends; the tests do. The stub is the one that behaves.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from agent.protocol.codec import decode_block
from agent.protocol.messages import CONNECT_PATH, SUBPROTOCOL, OpenJob, Standing

PATIENCE = 5.0
"""How long a script waits for something that has to come."""


class Work:
    """A double of the jobs that notes what the link tells them."""

    def __init__(self, *open_jobs: OpenJob) -> None:
        self.owed = list(open_jobs)
        self.delivered: list[Any] = []
        self.sessions: list[list[Standing]] = []

    def deliver(self, message: Any) -> None:
        self.delivered.append(message)

    def open_jobs(self) -> list[OpenJob]:
        return self.owed

    def new_session(self, standings: list[Standing]) -> None:
        self.sessions.append(standings)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer in the place of an upgrade."""

    status: int
    body: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)

    def response(self) -> Response:
        body = self.body.encode()
        headers = Headers([("Content-Length", str(len(body))), ("Connection", "close")])
        headers.update(self.headers)
        return Response(self.status, HTTPStatus(self.status).phrase, headers, body)


class ScriptedLink:
    """One accepted connection, in words of the protocol."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.hello: dict[str, Any] = {}

    async def send(self, type_: str, **fields: Any) -> None:
        """Send one text frame."""
        await self.connection.send(json.dumps({"type": type_, **fields}))

    async def receive(self) -> dict[str, Any]:
        """Return the next frame, a block as the type ``block``."""
        async with asyncio.timeout(PATIENCE):
            frame = await self.connection.recv()
        if isinstance(frame, str):
            return dict(json.loads(frame))
        block = decode_block(frame)
        return {"type": "block", "seq": block.seq, "job": block.job, "data": bytes(block.data)}

    async def expect(self, type_: str) -> dict[str, Any]:
        """Return the next frame of that type; answer pings on the way, drop the rest."""
        while (message := await self.receive())["type"] != type_:
            if message["type"] == "ping":
                await self.send("pong", n=message["n"])
        return message

    async def greet(self, **fields: Any) -> None:
        """Take the hello and welcome the agent into a new session, or as *fields* say."""
        self.hello = await self.expect("hello")
        welcome = {"protocol": 1, "session": "s-1", "resumed": False, "heartbeat_s": 5.0}
        await self.send("welcome", **(welcome | fields))

    async def request(self, job: str, *, seq: int) -> None:
        """Ask for a job."""
        parameters = {"uri": "s3://bucket/key"}
        await self.send(
            "job.request", seq=seq, job=job, kind="fetch-artifact", parameters=parameters
        )

    async def stay(self) -> None:
        """Answer pings until the agent is gone."""
        try:
            async for frame in self.connection:
                if isinstance(frame, str) and (message := json.loads(frame))["type"] == "ping":
                    await self.send("pong", n=message["n"])
        except ConnectionClosed:
            return

    async def silence(self) -> None:
        """Read and say nothing, as behind a router that has forgotten the connection."""
        self.connection.transport.pause_reading()
        await asyncio.wait({self.connection.connection_lost_waiter})

    async def end(self) -> tuple[int, str]:
        """Wait until the agent has closed; return its close code and reason."""
        async with asyncio.timeout(PATIENCE):
            await self.stay()
        return self.connection.close_code or 0, self.connection.close_reason or ""

    def cut(self) -> None:
        """End the connection without a close frame, as when a cable is pulled."""
        self.connection.transport.abort()

    def write_raw(self, data: bytes) -> None:
        """Put bytes on the wire past the WebSocket layer."""
        self.connection.transport.write(data)

    async def drip(self, frame: bytes, *, every: float) -> None:
        """Write *frame* byte by byte, for as long as somebody takes it."""
        for position in range(len(frame)):
            if self.lost:
                return
            self.write_raw(frame[position : position + 1])
            await self.pause(every)

    async def drip_fragments(self, *, every: float) -> None:
        """Begin a message and go on with it, one fragment of one byte after the other."""
        opcode = Opcode.TEXT
        while not self.lost:
            self.write_raw(wire_frame(b"a", opcode=opcode, fin=False))
            opcode = Opcode.CONT
            await self.pause(every)

    @property
    def lost(self) -> bool:
        """Whether the agent is gone."""
        return self.connection.transport.is_closing()

    async def pause(self, seconds: float) -> None:
        """Wait, or until the agent is gone."""
        await asyncio.wait({self.connection.connection_lost_waiter}, timeout=seconds)

    def flood_pings(self, count: int) -> None:
        """Send WebSocket pings as fast as the socket takes them."""
        self.write_raw(wire_frame(b"", opcode=Opcode.PING) * count)


Script = Callable[[ScriptedLink], Awaitable[None]]


class ScriptedControlPlane:
    """`attempts[n]` is what the n-th connect gets; those after the last are welcomed."""

    def __init__(self, *attempts: Script | Answer) -> None:
        self.attempts = list(attempts)
        self.requests: list[Request] = []
        self.links: list[ScriptedLink] = []
        self.ended: list[tuple[int, str]] = []
        self.port = 0
        self.scheme = "ws"
        self._failures: list[BaseException] = []

    @property
    def url(self) -> str:
        return self.url_at("127.0.0.1")

    def url_at(self, host: str, path: str = CONNECT_PATH) -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Count a connect; refuse it where the test says so."""
        self.requests.append(request)
        attempt = self._attempt(len(self.requests))
        connection.script = attempt
        return attempt.response() if isinstance(attempt, Answer) else None

    async def serve(self, connection: ServerConnection) -> None:
        """Run the script of one connection."""
        link = ScriptedLink(connection)
        self.links.append(link)
        try:
            await connection.script(link)
        except ConnectionClosed:
            pass
        except Exception as exc:
            self._failures.append(exc)
            raise
        finally:
            await connection.close()
            self.ended.append((connection.close_code or 0, connection.close_reason or ""))

    def raise_failures(self) -> None:
        """Raise what failed in a script, so that it fails the test."""
        if self._failures:
            raise self._failures[0]

    def _attempt(self, number: int) -> Script | Answer:
        return self.attempts[number - 1] if number <= len(self.attempts) else welcomed


async def welcomed(link: ScriptedLink) -> None:
    """A connection on which nothing happens."""
    await link.greet()
    await link.stay()


@asynccontextmanager
async def running(
    *attempts: Script | Answer,
    tls: ssl.SSLContext | None = None,
    subprotocol: str | None = SUBPROTOCOL,
) -> AsyncIterator[ScriptedControlPlane]:
    """Serve on a free port of 127.0.0.1; what failed in a script is raised at the end."""
    plane = ScriptedControlPlane(*attempts)
    server = await serve(
        plane.serve,
        "127.0.0.1",
        0,
        ssl=tls,
        process_request=plane.answer,
        select_subprotocol=lambda _connection, _offered: subprotocol,
        ping_interval=None,
        close_timeout=0.1,
        max_size=None,
    )
    plane.port = next(iter(server.sockets)).getsockname()[1]
    plane.scheme = "wss" if tls else "ws"
    try:
        yield plane
    finally:
        for link in plane.links:
            link.connection.transport.abort()
        server.close(close_connections=False)
        await server.wait_closed()
    plane.raise_failures()


def server_tls(
    pair: tuple[Path, Path],
    *,
    client_ca: Path | None = None,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> ssl.SSLContext:
    """Return a server's context; with *client_ca* it demands a certificate of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.maximum_version = newest
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def wire_frame(data: bytes, *, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    """Return the bytes of one WebSocket frame as a server sends it."""
    return Frame(opcode, data, fin=fin).serialize(mask=False)
