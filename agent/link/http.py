"""One HTTP connection for requests with bodies that come piece by piece; blocking, for a thread.

What is asked, and what answers mean, belongs to `upload`.
"""

import io
import os
import socket
import struct
import time
from contextlib import suppress
from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import Any

from agent.telemetry import metrics

STALL_SECONDS = 60.0
"""Without one byte going out or coming in. A slow reader may take longer: then we ask again."""
MOST_INTERIM = 16
_AT_ONCE = struct.pack("ii", 1, 0)
LONGEST_BODY = 4096


class Broken(Exception):
    """The connection is of no use any more; the text says why, without anything secret."""


class HttpConnection:
    """Sends requests and reads their answers, in order; requests may go out before the answers to
    earlier ones are read. For one thread; only `abort` may come from another."""

    def __init__(self, sock: Any) -> None:
        sock.settimeout(STALL_SECONDS)
        self._sock = sock
        # A second name for the same connection: it can be cut by another thread, whatever wraps it.
        self._cord = socket.socket(fileno=os.dup(sock.fileno()))
        self._answers = _Answers(_Received(sock))
        self.reusable = True
        self.idle_since = time.monotonic()

    @property
    def hung_up(self) -> bool:
        """Whether the far end has closed it."""
        try:
            return not self._cord.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def send(self, data: bytes | memoryview) -> None:
        """Send all of *data*.

        Raises:
            Broken: Not all of it went out.
        """
        rest = memoryview(data)
        try:
            while rest:
                count = self._sock.send(rest)
                metrics.link_sent.inc(count)
                rest = rest[count:]
        except OSError as exc:
            raise self._broken(exc) from None

    def answer(self) -> tuple[int, Message, bytes]:
        """Return status, headers and body of the next answer.

        Raises:
            Broken: There is none.
        """
        try:
            return self._answer()
        except (OSError, HTTPException, ValueError) as exc:
            raise self._broken(exc) from None

    def abort(self) -> None:
        """Cut the connection; whoever waits for it gets `Broken`. Idempotent.

        What the kernel has not sent yet is dropped as soon as the thread lets go.
        """
        with suppress(OSError):
            self._cord.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._cord.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up; idempotent."""
        self.reusable = False
        self._sock.close()
        self._cord.close()

    def _answer(self) -> tuple[int, Message, bytes]:
        for _ in range(MOST_INTERIM):
            response = HTTPResponse(self._answers, method="PUT")  # type: ignore[arg-type]
            response.begin()
            if response.status >= 200:
                body = response.read(LONGEST_BODY)
                self.reusable = not response.will_close and not response.read(1)
                return response.status, response.headers, body
        raise HTTPException("no answer after all")

    def _broken(self, exc: Exception) -> Broken:
        self.reusable = False
        return Broken(getattr(exc, "strerror", None) or type(exc).__name__)


class _Received(io.RawIOBase):
    """What comes in, as a file: also from what only looks like a socket."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._sock.recv(len(buffer))
        buffer[: len(data)] = data
        metrics.link_received.inc(len(data))
        return len(data)


class _Answers(io.BufferedReader):
    """One reader for many answers: each would close it, and take the begin of the next along."""

    def makefile(self, _mode: str) -> "_Answers":
        return self

    def close(self) -> None:
        """Stay open."""
