"""HTTP connections to the control plane, kept for the next who needs one. For threads."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from agent.link.dial import Endpoint
from agent.link.dial_blocking import dial_blocking
from agent.link.http import HttpConnection

IDLE_SECONDS = 10.0
"""Less than what servers and those in between wait before they hang up."""


class Pool:
    """Lends each connection to one thread at a time; as many are open as were lent at once."""

    def __init__(self, endpoint: Endpoint, *, version: str) -> None:
        self._endpoint = endpoint
        self._version = version
        self._lock = threading.Lock()
        self._idle: list[HttpConnection] = []

    @contextmanager
    def lend(self) -> Iterator[HttpConnection]:
        """Lend a connection; it is not lent again when the block ends with an exception.

        Raises:
            DialFailed, UsageError: As in `dial_blocking`.
        """
        connection = self._kept() or self._dialled()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._keep(connection)

    def close(self) -> None:
        """Close what nobody uses now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _dialled(self) -> HttpConnection:
        return HttpConnection(dial_blocking(self._endpoint, version=self._version))

    def _kept(self) -> HttpConnection | None:
        fresh = time.monotonic() - IDLE_SECONDS
        with self._lock:
            old = [one for one in self._idle if one.idle_since < fresh]
            self._idle = [one for one in self._idle if one.idle_since >= fresh]
            kept = self._idle.pop() if self._idle else None
        for connection in old:
            connection.close()
        return kept

    def _keep(self, connection: HttpConnection) -> None:
        if not connection.reusable:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)
