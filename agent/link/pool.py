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
        self._closed = False

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
        """Keep nothing any more; what is lent is closed when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _dialled(self) -> HttpConnection:
        return HttpConnection(dial_blocking(self._endpoint, version=self._version))

    def _kept(self) -> HttpConnection | None:
        oldest = time.monotonic() - IDLE_SECONDS
        while True:
            with self._lock:
                if not self._idle:
                    return None
                kept = self._idle.pop()
            if kept.idle_since >= oldest and not kept.hung_up:
                return kept
            kept.close()

    def _keep(self, connection: HttpConnection) -> None:
        connection.idle_since = time.monotonic()
        with self._lock:
            if connection.reusable and not self._closed:
                self._idle.append(connection)
                return
        connection.close()
