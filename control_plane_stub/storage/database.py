"""One SQLite file on a thread of its own, with group commit. What is in it belongs to `store`."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

LARGEST_BATCH = 1000


@dataclass(frozen=True, slots=True)
class _Work:
    act: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]


class Database:
    """Runs pieces of work in the order they came in, many in one transaction.

    A piece is answered after its transaction was committed to the write-ahead log: it survives the
    death of the process, and that of the machine but for the last moments.
    """

    def __init__(self, path: Path, *, schema: str, version: int) -> None:
        """Open or create the file; waits for the disk.

        Raises:
            ValueError: The file was written by another version.
        """
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._connection = _opened(path, schema, version)
        self._thread = threading.Thread(target=self._run, name="database", daemon=True)
        self._thread.start()

    def submit(self, act: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Queue *act*; the future has its result, or its exception, after the commit."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Work(act, answer))
        return answer

    async def close(self) -> None:
        """Finish what was submitted, and close the file."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._next_batch()
            outcomes = self._committed(batch)
            self._loop.call_soon_threadsafe(_answer, batch, outcomes)
        self._connection.close()

    def _next_batch(self) -> tuple[list[_Work], bool]:
        batch: list[_Work] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) >= LARGEST_BATCH:
                return batch, True
            try:
                item = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _committed(self, batch: list[_Work]) -> list[Any]:
        try:
            with self._connection:
                return [_outcome(work, self._connection) for work in batch]
        except sqlite3.Error as exc:
            return [exc] * len(batch)


def _opened(path: Path, schema: str, version: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, version):
        connection.close()
        raise ValueError(f"{path} has schema version {found}, this program knows {version}")
    if found == 0:
        connection.executescript(f"{schema}; PRAGMA user_version={version};")
    return connection


def _outcome(work: _Work, connection: sqlite3.Connection) -> Any:
    try:
        return work.act(connection)
    except sqlite3.Error as exc:
        return exc


def _answer(batch: list[_Work], outcomes: list[Any]) -> None:
    for work, outcome in zip(batch, outcomes, strict=True):
        if work.answer.done():
            continue
        if isinstance(outcome, Exception):
            work.answer.set_exception(outcome)
        else:
            work.answer.set_result(outcome)
