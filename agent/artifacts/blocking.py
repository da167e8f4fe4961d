"""Bridges what the clouds' blocking libraries read to the event loop."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Thread
from typing import Any, Protocol

from agent.telemetry.logs import get_logger
from agent.threads import Threads

log = get_logger()


class Reader(Protocol):
    """What a blocking library gives to read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes, none at the end."""

    def close(self) -> None:
        """End the transfer at once, also while another thread reads."""


class BlockingSource:
    """A `Source` over a `Reader`, which reads one block ahead in a thread.

    *translated* turns the library's errors into ours.
    """

    def __init__(
        self,
        reader: Reader,
        threads: Threads,
        translated: Callable[[], AbstractContextManager[None]],
        *,
        size: int,
        etag: str,
        media_type: str | None,
        block_bytes: int,
    ) -> None:
        self.size = size
        self.etag = etag
        self.media_type = media_type
        self._reader = reader
        self._threads = threads
        self._translated = translated
        self._block_bytes = block_bytes
        self._ahead: asyncio.Future[bytes] | None = None
        self._closed = False

    async def read(self) -> bytes:
        ahead, self._ahead = self._ahead or self._threads.start(self._read), None
        block = await ahead
        if block and not self._closed:
            self._ahead = self._threads.start(self._read)
        return block

    async def close(self) -> None:
        """End the transfer; a read under way in its thread fails there, and nobody minds."""
        if self._closed:
            return
        self._closed = True
        if self._ahead is not None:
            self._ahead.add_done_callback(_mind_not)
        # The store's own threads may all be reading from servers that have stalled.
        Thread(target=self._cut, name="cut", daemon=True).start()

    def _cut(self) -> None:
        try:
            self._reader.close()
        except Exception as error:  # noqa: BLE001  # nobody waits for what is wrong with it
            _say_left(error)

    def _read(self) -> bytes:
        with self._translated():
            return self._reader.read(self._block_bytes)


def _mind_not(ended: "asyncio.Future[Any]") -> None:
    # Who left does not wait for what a thread still does; the loop must not report it either.
    if not ended.cancelled() and (error := ended.exception()) is not None:
        _say_left(error)


def _say_left(error: BaseException) -> None:
    log.debug("transfer.left", why=type(error).__name__)
