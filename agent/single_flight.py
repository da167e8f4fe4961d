"""One piece of work at a time for each key, shared by all who ask.

Keeping results is not done here.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from agent.errors import CredentialUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Lets many callers wait for one run of the same work.

    The work runs in a task of its own: a caller that is cancelled takes nothing away from the
    others.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Join the run that is under way for *key*, or start *work*; waits for its end.

        Raises:
            CredentialUnavailable: `close` was called meanwhile. Besides, what *work* raises.
        """
        task = self._running.get(key) or self._started(key, work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and not _is_being_cancelled():
                raise CredentialUnavailable(detail="the agent is shutting down") from None
            raise

    def forget(self, key: K) -> None:
        """Let later callers start anew; those who wait already get what they wait for."""
        self._running.pop(key, None)

    async def close(self) -> None:
        """End everything under way; idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _started(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        task = asyncio.create_task(work(), name=f"single-flight {work.__qualname__}")
        self._running[key] = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(key, done))
        return task

    def _ended(self, key: K, task: asyncio.Task[V]) -> None:
        self._tasks.discard(task)
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            # All callers may be gone: without this look the loop reports an exception nobody
            # fetched.
            task.exception()


def _is_being_cancelled() -> bool:
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0
