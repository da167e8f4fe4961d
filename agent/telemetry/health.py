"""``/livez``, ``/readyz`` and ``/metrics``, told by a thread so that a hung event loop can't hide.

Nothing can be changed here, and nothing secret is shown. What makes the agent ready is not known
here.
"""

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from agent.errors import UsageError
from agent.telemetry import metrics

_REQUEST_TIMEOUT_S = 5.0
_LONGEST_HEADER = 8 * 1024
_MOST_CONNECTIONS = 64
_STOP_TIMEOUT_S = 10.0

Ready = Callable[[], tuple[bool, str]]


class Heart:
    """Beats on the event loop, so that others can tell whether the loop still runs."""

    def __init__(self, *, interval: float = 1.0, stalled_after: float = 15.0) -> None:
        self._interval = interval
        self._stalled_after = stalled_after
        self._last_beat = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it has beaten lately; any thread may ask."""
        return time.monotonic() - self._last_beat < self._stalled_after

    async def run(self) -> None:
        """Beat until cancelled, and measure how late the loop is each time."""
        while True:
            due = time.monotonic() + self._interval
            await asyncio.sleep(self._interval)
            self._last_beat = time.monotonic()
            metrics.loop_lag.set(max(0.0, self._last_beat - due))


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"

    def encoded(self, *, head: bool) -> bytes:
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "Server: cloud-agent",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        ]
        if self.status is HTTPStatus.METHOD_NOT_ALLOWED:
            lines.append("Allow: GET, HEAD")
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else self.body)


class HealthServer:
    """Serves from entering its context to leaving it, on a thread with an event loop of its own.

    A connection gets one answer and 5 s for all of it. Of more than 64 at once the oldest is
    dropped: clients that dawdle can't keep others out. *ready* is called on that thread; it must
    not wait, and answers whether and with which fixed word.
    """

    def __init__(self, listen: str, *, heart: Heart, ready: Ready) -> None:
        self._listen = listen
        self._heart = heart
        self._ready = ready
        self._open: deque[asyncio.StreamWriter] = deque()
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on, once started."""
        assert self._socket is not None
        host, port, *_ = self._socket.getsockname()
        return host, port

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            UsageError: ``telemetry.listen`` is no address, or not one that is free.
        """
        self._socket = _listening(self._listen)
        self._thread.start()
        await asyncio.to_thread(self._started.wait, _STOP_TIMEOUT_S)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join, _STOP_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(
            self._converse, sock=self._socket, limit=_LONGEST_HEADER
        )
        async with server:
            self._started.set()
            await self._stop.wait()
            while self._open:
                self._open.popleft().transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        if len(self._open) > _MOST_CONNECTIONS:
            self._open.popleft().transport.abort()
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                await self._answer(reader, writer)
        except (
            OSError,
            asyncio.IncompleteReadError,
        ):  # Gone, or too slow: TimeoutError is an OSError.
            writer.transport.abort()
        finally:
            writer.close()
            if writer in self._open:
                self._open.remove(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            too_large = _Answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b"header too large\n")
            writer.write(too_large.encoded(head=False))
        else:
            request, *headers = head.decode("latin-1").split("\r\n")
            answer = self._answer_to(request.split(" "), headers)
            writer.write(answer.encoded(head=request.startswith("HEAD ")))
        await writer.drain()

    def _answer_to(self, request: list[str], headers: list[str]) -> _Answer:
        match request:
            case [method, target, version] if version in ("HTTP/1.0", "HTTP/1.1"):
                if method not in ("GET", "HEAD"):
                    return _Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n")
                return self._page(target.partition("?")[0], headers)
        return _Answer(HTTPStatus.BAD_REQUEST, b"not an HTTP request\n")

    def _page(self, path: str, headers: list[str]) -> _Answer:
        match path:
            case "/livez":
                alive = self._heart.alive
                return _health(alive, "alive" if alive else "stalled")
            case "/readyz":
                return _health(*self._ready())
            case "/metrics":
                return _metrics(headers)
        return _Answer(HTTPStatus.NOT_FOUND, b"/livez, /readyz or /metrics\n")


def _health(good: bool, word: str) -> _Answer:
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return _Answer(status, f"{word}\n".encode())


def _metrics(headers: list[str]) -> _Answer:
    fields = (header.partition(":") for header in headers)
    accepted = ",".join(value for name, _, value in fields if name.lower() == "accept")
    encoder, content_type = choose_encoder(accepted)
    return _Answer(HTTPStatus.OK, encoder(REGISTRY), content_type)


def _listening(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError("telemetry.listen: should be HOST:PORT, as 127.0.0.1:9464 or [::1]:9464")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family)
    except OSError as exc:
        why = exc.strerror or "it is no address of this host"
        raise UsageError(f"telemetry.listen: can't listen on {listen}: {why}") from exc
