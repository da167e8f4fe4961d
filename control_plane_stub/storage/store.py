"""Jobs, join tokens and enrolled instances, as kept over a restart. No rules about them."""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control_plane_stub.storage.database import Database

VERSION = 1
SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, created REAL NOT NULL, agent TEXT, state TEXT NOT NULL,
    ended INTEGER NOT NULL, idempotency_key TEXT UNIQUE, document TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_by_time ON jobs (created);
CREATE INDEX jobs_open ON jobs (ended) WHERE ended = 0;
CREATE TABLE join_tokens (
    sha256 TEXT PRIMARY KEY, agent TEXT NOT NULL, expires REAL NOT NULL,
    used_by TEXT, used_key BLOB
) STRICT;
CREATE TABLE instances (
    agent TEXT NOT NULL, instance TEXT NOT NULL, public_key BLOB NOT NULL,
    enrolled REAL NOT NULL, revoked REAL, PRIMARY KEY (agent, instance)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an instance asks for with its join token."""

    agent: str
    instance: str
    public_key: bytes
    join_token: str


@dataclass(frozen=True, slots=True)
class EnrolledInstance:
    """One registered key."""

    agent: str
    instance: str
    public_key: bytes
    revoked: bool


class Store:
    """Every method queues its work and returns the future of its commit; see `Database`."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; waits for the disk.

        Raises:
            ValueError: The file was written by another version.
        """
        self._database = Database(path, schema=SCHEMA, version=VERSION)

    async def close(self) -> None:
        await self._database.close()

    def save_job(self, record: Mapping[str, Any], *, ended: bool) -> asyncio.Future[None]:
        """Insert or replace one job.

        The future raises `sqlite3.IntegrityError` when its idempotency key belongs to another.
        """
        document = json.dumps(record, separators=(",", ":"))
        names = ("id", "created", "agent", "state")
        row = (*map(record.get, names), ended, record["idempotency_key"], document)

        def save(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO jobs VALUES (?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET"
                " agent=excluded.agent, state=excluded.state, ended=excluded.ended,"
                " document=excluded.document",
                row,
            )

        return self._database.submit(save)

    def job(self, job: str) -> asyncio.Future[dict[str, Any] | None]:
        return self._one_job("SELECT document FROM jobs WHERE id=?", job)

    def job_by_key(self, key: str) -> asyncio.Future[dict[str, Any] | None]:
        return self._one_job("SELECT document FROM jobs WHERE idempotency_key=?", key)

    def open_jobs(self) -> asyncio.Future[list[dict[str, Any]]]:
        """Every job without an outcome, oldest first."""
        return self._jobs("SELECT document FROM jobs WHERE ended=0 ORDER BY created", ())

    def jobs(
        self, *, agent: str | None, state: str | None, limit: int
    ) -> asyncio.Future[list[dict[str, Any]]]:
        """The newest jobs that fit, newest first."""
        return self._jobs(
            "SELECT document FROM jobs WHERE (?1 IS NULL OR agent=?1) AND (?2 IS NULL OR state=?2)"
            " ORDER BY created DESC LIMIT ?3",
            (agent, state, limit),
        )

    def add_join_token(self, token: str, *, agent: str, expires: float) -> asyncio.Future[None]:
        """Keep the hash of *token*; the token itself is never stored."""
        row = (_hashed(token), agent, expires)

        def add(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM join_tokens WHERE expires < ?-86400", row[2:])
            connection.execute("INSERT INTO join_tokens VALUES (?,?,?,NULL,NULL)", row)

        return self._database.submit(add)

    def enroll(self, wanted: Enrolment, *, now: float) -> asyncio.Future[bool]:
        """Use up the join token and register the key, both or neither; False when it is not good.

        The same instance with the same key may use its token again: its first answer may have been
        lost. A revoked key stays revoked.
        """
        return self._database.submit(lambda connection: _enroll(connection, wanted, now))

    def instance(self, agent: str, instance: str) -> asyncio.Future[EnrolledInstance | None]:
        def read(connection: sqlite3.Connection) -> EnrolledInstance | None:
            row = connection.execute(
                "SELECT public_key, revoked FROM instances WHERE agent=? AND instance=?",
                (agent, instance),
            ).fetchone()
            return EnrolledInstance(agent, instance, row[0], row[1] is not None) if row else None

        return self._database.submit(read)

    def instances(self) -> asyncio.Future[list[EnrolledInstance]]:
        def read(connection: sqlite3.Connection) -> list[EnrolledInstance]:
            rows = connection.execute(
                "SELECT agent, instance, public_key, revoked IS NOT NULL FROM instances"
                " ORDER BY agent, instance"
            )
            return [EnrolledInstance(row[0], row[1], row[2], bool(row[3])) for row in rows]

        return self._database.submit(read)

    def revoke(self, agent: str, instance: str, *, now: float) -> asyncio.Future[bool]:
        """Refuse this instance's key from now on; False when there is no such instance."""

        def mark(connection: sqlite3.Connection) -> bool:
            cursor = connection.execute(
                "UPDATE instances SET revoked=? WHERE agent=? AND instance=?",
                (now, agent, instance),
            )
            return cursor.rowcount > 0

        return self._database.submit(mark)

    def _one_job(self, query: str, value: str) -> asyncio.Future[dict[str, Any] | None]:
        def read(connection: sqlite3.Connection) -> dict[str, Any] | None:
            row = connection.execute(query, (value,)).fetchone()
            return json.loads(row[0]) if row else None

        return self._database.submit(read)

    def _jobs(self, query: str, values: tuple[Any, ...]) -> asyncio.Future[list[dict[str, Any]]]:
        return self._database.submit(
            lambda connection: [json.loads(row[0]) for row in connection.execute(query, values)]
        )


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _enroll(connection: sqlite3.Connection, wanted: Enrolment, now: float) -> bool:
    if _is_revoked(connection, wanted):
        return False
    token = _hashed(wanted.join_token)
    used = connection.execute(
        "UPDATE join_tokens SET used_by=?1, used_key=?2 WHERE sha256=?3 AND agent=?4 AND expires>?5"
        " AND (used_by IS NULL OR (used_by=?1 AND used_key=?2))",
        (wanted.instance, wanted.public_key, token, wanted.agent, now),
    )
    if used.rowcount != 1:
        return False
    connection.execute(
        "INSERT OR REPLACE INTO instances VALUES (?,?,?,?,NULL)",
        (wanted.agent, wanted.instance, wanted.public_key, now),
    )
    return True


def _is_revoked(connection: sqlite3.Connection, wanted: Enrolment) -> bool:
    row = connection.execute(
        "SELECT 1 FROM instances WHERE public_key=? AND revoked IS NOT NULL", (wanted.public_key,)
    ).fetchone()
    return row is not None
