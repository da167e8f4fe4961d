"""The journal's SQLite file: rows with checksums. What the states mean is `journal`'s part.

Everything that was written with *sync* stands in the main file, where every row is verified at
open. The write-ahead log beside it holds only what may be lost: SQLite drops a damaged end of it
without a word, so nothing that was promised may rest there alone.
"""

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Self

from agent.errors import JournalFailed
from agent.owned_file import open_owned, sync_directory

_APPLICATION_ID = 0x434C4147
_VERSION = 1
_SCHEMA = f"""
BEGIN;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE jobs (
  job TEXT PRIMARY KEY, state TEXT NOT NULL, body TEXT NOT NULL, settled_at REAL,
  checksum BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX jobs_settled ON jobs (settled_at, job) WHERE settled_at IS NOT NULL;
COMMIT;
"""
_UPSERT = """
INSERT INTO jobs VALUES (?, ?, ?, ?, ?) ON CONFLICT (job) DO UPDATE SET
  state = excluded.state, body = excluded.body, settled_at = excluded.settled_at,
  checksum = excluded.checksum
"""
_EXPIRED = """
SELECT job FROM jobs WHERE settled_at < ?1 UNION
SELECT job FROM (SELECT job FROM jobs WHERE settled_at IS NOT NULL
                 ORDER BY settled_at DESC, job LIMIT -1 OFFSET ?2)
"""
_DELETE = "DELETE FROM jobs WHERE job = ? AND settled_at IS NOT NULL"
_ADVICE = (
    "Nothing was deleted. Restore the file from a backup, or move it and the files beside it "
    "away to start with an empty journal; the control plane then reports the jobs in it as lost"
)


State = Literal["accepted", "finished", "settled"]


class Row(NamedTuple):
    """One job as it is stored; *settled_at* is Unix time."""

    job: str
    state: State
    body: str
    settled_at: float | None


class JournalFile:
    """Rows by job id, in one file that one process at a time may use. Methods wait for the disk.

    May be called from any thread; calls take turns.
    """

    def __init__(self, path: Path, lock: int, connection: sqlite3.Connection) -> None:
        self._path = path
        self._lock: int | None = lock
        self._connection = connection
        self._turn = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file, for this process and user alone.

        Raises:
            UsageError: Another process uses it, or it can't be created.
            JournalFailed: It is damaged, or not a journal.
        """
        in_use = f"another agent uses this state directory, {path.parent}"
        lock = open_owned(path.with_suffix(".lock"), key="agent.state_dir", in_use=in_use)
        try:
            with _translated(path):
                return cls(path, lock, _connected(path))
        except JournalFailed:
            os.close(lock)
            raise

    def rows(self) -> Iterator[Row]:
        """Yield every row.

        Raises:
            JournalFailed: A row does not match its checksum, or the file can't be read.
        """
        with self._turn, _translated(self._path):
            for *row, checksum in self._connection.execute("SELECT * FROM jobs"):
                yield self._verified(Row(*row), checksum)

    def row(self, job: str) -> Row | None:
        """Return the row of *job*, verified."""
        with self._turn, _translated(self._path):
            query = self._connection.execute("SELECT * FROM jobs WHERE job = ?", (job,))
            found = query.fetchone()
        return None if found is None else self._verified(Row(*found[:-1]), found[-1])

    def write(self, rows: Iterable[Row], *, sync: bool) -> None:
        """Store *rows* in one transaction; with *sync* they are on the disk on return.

        Raises:
            JournalFailed: Nothing of *rows* was stored, or it is not certain to be on the disk.
        """
        with self._turn, _translated(self._path):
            with _transaction(self._connection):
                self._connection.executemany(_UPSERT, [(*row, _checksum(row)) for row in rows])
            if sync:
                self._checkpoint()

    def forget(self, *, settled_before: float, keep: int) -> list[str]:
        """Delete settled rows that are older, or beyond the *keep* youngest; return their jobs."""
        with self._turn, _translated(self._path), _transaction(self._connection):
            expired = self._connection.execute(_EXPIRED, (settled_before, keep)).fetchall()
            self._connection.executemany(_DELETE, expired)
        return [job for (job,) in expired]

    def close(self) -> None:
        """Let go of the file; idempotent."""
        with self._turn:
            self._connection.close()
            if self._lock is not None:
                os.close(self._lock)
            self._lock = None

    def _checkpoint(self) -> None:
        busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        if busy:
            raise JournalFailed(f"{self._path} is being read by another program")

    def _verified(self, row: Row, checksum: bytes) -> Row:
        if _checksum(row) != checksum:
            raise JournalFailed(f"{self._path}: a record does not match its checksum. {_ADVICE}")
        return row


def _checksum(row: Row) -> bytes:
    return hashlib.blake2b(repr(tuple(row)).encode(), digest_size=16).digest()


def _connected(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    path.chmod(0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _prepare(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application := _pragma(connection, "application_id")) == 0 and tables == (0,):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        sync_directory(path.parent)
    elif application != _APPLICATION_ID:
        raise JournalFailed(f"{path} is not a journal of this program. {_ADVICE}")
    elif _pragma(connection, "user_version") != _VERSION:
        raise JournalFailed(f"{path} was written by a newer version of this program; use that one")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if (finding := _pragma(connection, "integrity_check")) != "ok":
        raise JournalFailed(f"{path} is damaged ({finding}). {_ADVICE}")


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as exc:
        damaged = getattr(exc, "sqlite_errorcode", 0) in (
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        )
        raise JournalFailed(f"{path}: {exc}{f'. {_ADVICE}' if damaged else ''}") from exc
    except OSError as exc:
        raise JournalFailed(f"{path}: {exc.strerror}") from exc
