"""Threads of somebody's own, for libraries that block. What is called in them is not known here."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

USUAL = 64
"""More than there are jobs: a call whose caller has left keeps its thread until it ends."""

T = TypeVar("T")


class Threads:
    """Runs blocking calls beside the event loop, so that one who hangs takes no thread of another.

    Threads are started as they are needed, up to *size*. Safe for concurrent calls.
    """

    def __init__(self, name: str, *, size: int = USUAL) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, call: Callable[[], T]) -> T:
        """Return what *call* returns, in the context of the caller; waits for a free thread."""
        return await self.start(call)

    def start(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        """Begin *call* as soon as a thread is free, and return at once.

        Raises:
            RuntimeError: They have been closed.
        """
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, copy_context().run, call)

    def close(self) -> None:
        """Take no more calls, and end the threads after those there are; does not wait.

        Idempotent.
        """
        self._pool.shutdown(wait=False)
