"""Threads of somebody's own, for libraries that block. What is called in them is not known here."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """Runs blocking calls beside the event loop, so that one who hangs takes no thread of another.

    Threads are started as they are needed, up to *size*. Safe for concurrent calls.
    """

    def __init__(self, name: str, *, size: int) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, call: Callable[[], T]) -> T:
        """Return what *call* returns, in the context of the caller; waits for a free thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, copy_context().run, call)

    def close(self) -> None:
        """Take no more calls; does not wait for those it has. Idempotent."""
        self._pool.shutdown(wait=False)
