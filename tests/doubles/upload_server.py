"""A taker of uploads on a real socket that answers, request by request, as a test wrote down.

It checks no proof. The stub is the one that behaves.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from agent.protocol.upload import Segment, read_content_range


@dataclass
class Request:
    """One request, its body still on the way."""

    path: str
    headers: dict[str, str]
    segment: Segment
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)

    async def body(self) -> bytes:
        return await self.reader.readexactly(self.segment.stop - self.segment.first)

    def answer(self, status: int, body: str = "", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write(("\r\n".join([*lines, "", ""]) + body).encode())

    def taken(self, offset: int) -> None:
        self.answer(200, json.dumps({"offset": offset}))

    def cut(self) -> None:
        """End the connection without a word."""
        self.writer.transport.abort()
        raise ConnectionAbortedError


Script = Callable[["UploadServer", Request], Awaitable[None]]


async def takes(server: "UploadServer", request: Request) -> None:
    """Take in what is next, and say so."""
    if request.segment.asks:
        request.taken(len(server.content))
    elif request.segment.first != len(server.content):
        await request.body()
        request.answer(409)
    else:
        server.content += await request.body()
        request.taken(len(server.content))


@dataclass
class UploadServer:
    """`scripts[n]` is what happens to the n-th request; those after the last are taken in."""

    scripts: list[Script]
    content: bytearray = field(default_factory=bytearray, repr=False)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    scheme: str = "ws"
    port: int = 0

    @property
    def url(self) -> str:
        """What an agent would have dialled."""
        return f"{self.scheme}://127.0.0.1:{self.port}/agent/v1/connect"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await self._serve_one(reader, writer)
        finally:
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        segment = read_content_range(headers["Content-Range"])
        request = Request(first.split()[1], headers, segment, reader, writer)
        number = len(self.requests)
        self.requests.append(request)
        script = self.scripts[number] if number < len(self.scripts) else takes
        await script(self, request)


@asynccontextmanager
async def upload_server(
    *scripts: Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[UploadServer]:
    """Serve on a free port of 127.0.0.1."""
    taker = UploadServer(list(scripts), scheme="wss" if tls else "ws")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(taker.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    taker.port = server.sockets[0].getsockname()[1]
    try:
        yield taker
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
    for failure in done:
        if isinstance(failure, Exception):
            raise failure
