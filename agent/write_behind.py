"""A thread that writes in batches what others hand over; what and where to is not known here."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from agent.errors import JournalFailed
from agent.telemetry.logs import get_logger

T = TypeVar("T")
log = get_logger()
_CLOSE_TIMEOUT_S = 30.0
_GATHER_S = 0.005
"""So long an item that nobody waits for may be held for others to join: to wake a thread and begin
a transaction for each one costs more than the writing itself."""


class WriteBehind(Generic[T]):
    """Writes items in the order in which they were put, on one thread of its own.

    *write* is given a batch and whether it has to be on the disk when it returns; it raises
    `JournalFailed` and nothing else. The first failure is final: nothing is written after it, since
    a gap in the middle is worse than an end that everyone can see.

    The queue has no limit of its own. Whoever puts does so for jobs that were admitted, a handful
    of items for each, so admission bounds it. All methods may be called from any thread.
    """

    def __init__(self, write: Callable[[list[T], bool], None], *, name: str) -> None:
        self.failed: JournalFailed | None = None
        self._write = write
        self._name = name
        self._queue: list[tuple[T, Future[None] | None]] = []
        self._urgent = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Have *item* written soon. Never waits for the disk.

        Raises:
            JournalFailed: An earlier write failed, or this is closed.
        """
        self._enqueue(item, None)

    async def put_durably(self, item: T) -> None:
        """Return when *item*, and everything put before it, is on the disk.

        Items that wait at the same time share one sync. A cancelled caller's item may be written or
        not.

        Raises:
            JournalFailed: This or an earlier write failed, or this is closed.
        """
        written: Future[None] = Future()
        self._enqueue(item, written)
        await asyncio.wrap_future(written)

    def close(self, timeout: float = _CLOSE_TIMEOUT_S) -> bool:
        """Write what is queued and end the thread; return whether it ended. Waits; idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _enqueue(self, item: T, written: Future[None] | None) -> None:
        with self._changed:
            if self.failed is not None:
                raise JournalFailed(str(self.failed)) from self.failed
            if self._closing:
                raise JournalFailed(f"{self._name} is closed")
            self._queue.append((item, written))
            self._urgent |= written is not None
            if self._urgent or len(self._queue) == 1:
                self._changed.notify()

    def _run(self) -> None:
        while self.failed is None and (batch := self._next_batch()):
            self._write_batch(batch)

    def _next_batch(self) -> list[tuple[T, Future[None] | None]]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            self._changed.wait_for(lambda: self._urgent or self._closing, timeout=_GATHER_S)
            batch, self._queue = self._queue, []
            self._urgent = False
            return batch

    def _write_batch(self, batch: list[tuple[T, Future[None] | None]]) -> None:
        waiting = [w for _, w in batch if w is not None and w.set_running_or_notify_cancel()]
        failure: JournalFailed | None = JournalFailed(f"{self._name} ended by a mistake of its own")
        try:
            self._write([item for item, _ in batch], bool(waiting))
            failure = None
        except JournalFailed as exc:
            failure = exc
        finally:  # Also for what nobody foresaw: the thread dies loudly, and nobody waits for ever.
            if failure is not None:
                waiting += self._latch(failure)
            _answer(waiting, failure)

    def _latch(self, failure: JournalFailed) -> list[Future[None]]:
        with self._changed:
            self.failed = failure
            abandoned, self._queue = self._queue, []
        log.error("writing.failed", what=self._name, why=str(failure))
        return [w for _, w in abandoned if w is not None and w.set_running_or_notify_cancel()]


def _answer(waiting: list[Future[None]], failure: JournalFailed | None) -> None:
    for written in waiting:
        if failure is None:
            written.set_result(None)
        else:
            written.set_exception(failure)
