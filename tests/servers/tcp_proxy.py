"""A TCP proxy that counts what passes and cuts it off, between a client and a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from ssl import SSLContext
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

_PIECE = 64 * 1024


class TcpProxy:
    """Passes bytes on as fast as the client takes them, and no faster."""

    def __init__(self, target: int, *, scheme: str) -> None:
        self._target = target
        self._scheme = scheme
        self.port = 0
        self.connections = 0
        self.to_client = 0
        """Bytes that the server sent and the proxy passed on."""
        self.open = 0
        """Connections that neither side has ended."""
        self.cut_after: int | None = None
        """Each connection ends after so many bytes to the client."""
        self.openings: list[bytes] = []
        """What each connection's client sent first, such as the head of a request."""
        self.gate = asyncio.Event()
        """Where it is not set, nothing more goes to the client."""
        self.gate.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> int:
        """End all connections at once; return how many there were."""
        cut = len(self._writers)
        for writer in self._writers:
            writer.transport.abort()
        return cut

    @property
    def endpoint_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join one client's connection to one of its own to the server, until either ends."""
        self.connections += 1
        self.open += 1
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers.add(writer)
        try:
            with suppress(ConnectionError):
                async with asyncio.TaskGroup() as ways:
                    upwards = ways.create_task(self._upwards(reader, server_writer))
                    downwards = ways.create_task(self._downwards(server_reader, writer))
                    await asyncio.wait({upwards, downwards}, return_when="FIRST_COMPLETED")
                    upwards.cancel()
                    downwards.cancel()
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.transport.abort()
            server_writer.transport.abort()

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            piece = await reader.read(_PIECE)
            self.openings.append(piece)
            while piece:
                writer.write(piece)
                await writer.drain()
                piece = await reader.read(_PIECE)

    async def _downwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self.cut_after
        with suppress(ConnectionError):
            while left != 0 and (piece := await reader.read(_PIECE if left is None else left)):
                await self.gate.wait()
                left = None if left is None else left - len(piece)
                self.to_client += len(piece)
                writer.write(piece)
                await writer.drain()
            if left == 0 and writer.can_write_eof():
                writer.write_eof()


@asynccontextmanager
async def tcp_proxy(target: int, *, tls: SSLContext | None = None) -> AsyncIterator[TcpProxy]:
    """Forward a free port of 127.0.0.1 to *target*; every connection ends with the context.

    With *tls* the client's side is encrypted.
    """
    proxy = TcpProxy(target, scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class ProxyInThread:
    """A `TcpProxy` that a test without a loop of its own looks at and cuts."""

    def __init__(self, proxy: TcpProxy, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._loop = loop
        self.endpoint_url = proxy.endpoint_url

    def cut(self) -> int:
        """End all connections at once; return how many there were."""
        return self._call(self._proxy.cut)

    def openings(self) -> list[bytes]:
        """Return what the client of each connection sent first."""
        return self._call(lambda: list(self._proxy.openings))

    def _call(self, ask: Callable[[], T]) -> T:
        async def answer() -> T:
            return ask()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(10)


@contextmanager
def proxy_in_thread(target: int) -> Iterator[ProxyInThread]:
    """Forward a free port of 127.0.0.1 to *target*, with a loop of its own."""
    ready: Future[ProxyInThread] = Future()
    done = asyncio.Event()

    async def serve() -> None:
        async with tcp_proxy(target) as proxy:
            ready.set_result(ProxyInThread(proxy, asyncio.get_running_loop()))
            await done.wait()

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    proxy = ready.result(10)
    try:
        yield proxy
    finally:
        proxy._loop.call_soon_threadsafe(done.set)
        thread.join()
