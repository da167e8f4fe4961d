"""One SQLite file on a thread of its own, with group commit. What is in it belongs to `store`."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Work:
    act: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]


class Database:
    """Runs pieces of work in the order they came in, many in one transaction.

    A piece is answered after its transaction was committed to the write-ahead log: it survives the
    death of the process, and that of the machine but for the last moments. While the thread works,
    what comes in is collected for its next transaction.
    """

    def __init__(self, path: Path, *, schema: str, version: int) -> None:
        """Open or create the file; waits for the disk.

        Raises:
            ValueError: The file was written by another version.
        """
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._connection = _opened(path, schema, version)
        self._waiting: list[_Work] = []
        self._busy = False

    def submit(self, act: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Queue *act*; the future has its result, or its exception, after the commit."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Work(act, answer))
        if not self._busy:
            self._busy = True
            # One turn of the loop later: by then the rest of this turn's work is here too.
            self._loop.call_soon(self._start)
        return answer

    async def close(self) -> None:
        """Finish what was submitted, and close the file."""
        while self._busy:
            await asyncio.wait((self.submit(_nothing),))
        self._executor.shutdown()
        self._connection.close()

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        turn = self._loop.run_in_executor(self._executor, _committed, self._connection, batch)
        turn.add_done_callback(partial(self._answer, batch))

    def _answer(self, batch: list[_Work], turn: asyncio.Future[list[Any]]) -> None:
        if self._waiting:
            self._start()
        else:
            self._busy = False
        for work, outcome in zip(batch, turn.result(), strict=True):
            if work.answer.done():
                continue
            if isinstance(outcome, Exception):
                work.answer.set_exception(outcome)
            else:
                work.answer.set_result(outcome)


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


def _committed(connection: sqlite3.Connection, batch: list[_Work]) -> list[Any]:
    try:
        with connection:
            return [_outcome(work, connection) for work in batch]
    except sqlite3.Error as exc:
        return [exc] * len(batch)


def _outcome(work: _Work, connection: sqlite3.Connection) -> Any:
    try:
        return work.act(connection)
    except sqlite3.Error as exc:
        return exc


def _nothing(_: sqlite3.Connection) -> None:
    """A piece of work that comes after all work before it."""
