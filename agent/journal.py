"""The durable record of every accepted job until its outcome is settled; runs and sends nothing.

Settled ids are remembered for `REMEMBERED_DAYS`, and no more than `MOST_SETTLED` of them. An id
that is older is unknown here: should a control plane ask for it again, it is a new job, and only
the policy and the expiry of a job's signature stand in its way.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from pydantic import JsonValue

from agent.errors import JournalFailed
from agent.journal_file import JournalFile, Row
from agent.journal_record import Record, record_of, row_of, settled
from agent.telemetry import metrics
from agent.write_behind import WriteBehind

__all__ = ["Journal", "Record"]

REMEMBERED_DAYS = 30
MOST_SETTLED = 100_000
_SETTLED_BETWEEN_CLEANINGS = 1000


class Journal:
    """Keeps a `Record` from acceptance to settlement through a crash of the process.

    What was told as durable also survives a crash of the machine. Changes are seen by `find` and
    `unsettled` at once. After a failure of the disk `accept` refuses; jobs that run may go on:
    `finish` and `settle` then change memory alone, and a restart finds the job as it was last
    written.

    For one event loop; only `close` may be called from another thread.
    """

    def __init__(self, file: JournalFile, rows: Iterable[Row]) -> None:
        self._file = file
        self._open: dict[str, Record] = {}
        self._settling: dict[str, Record] = {}
        # Only hashes, 8 MB when full: a chance hit costs one needless look into the file.
        self._settled: set[int] = set()
        self._settled_since_cleaning = _SETTLED_BETWEEN_CLEANINGS
        self._load(rows)
        self._writer = WriteBehind(self._write, name="the journal")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the journal at *path*; waits for the disk.

        Raises:
            UsageError: Another process uses it, or it can't be created.
            JournalFailed: It is damaged, or not a journal; the text says what to do.
        """
        file = JournalFile.open(path)
        try:
            return cls(file, file.rows())
        except JournalFailed:
            file.close()
            raise

    @property
    def failed(self) -> JournalFailed | None:
        """Why no job may be accepted any more, or None while all is well."""
        return self._writer.failed

    def find(self, job: str) -> Record | None:
        """Return the record of a job that is not settled; looks in memory only."""
        return self._open.get(job)

    async def lookup(self, job: str) -> Record | None:
        """Return the record of *job*, settled ones included, as far back as they are remembered.

        A settled record has no parameters, and a large outcome no ``result`` and ``message``.
        Reads the file only for an id that is probably settled.

        Raises:
            JournalFailed: The file can't be read, or the record is damaged.
        """
        if record := self._open.get(job) or self._settling.get(job):
            return record
        if hash(job) not in self._settled:
            return None
        row = await asyncio.to_thread(self._file.row, job)
        return None if row is None else record_of(row)

    def unsettled(self) -> list[Record]:
        """Return all records that are not settled, the oldest first."""
        return sorted(self._open.values(), key=lambda record: record.accepted_at)

    @property
    def unsettled_count(self) -> int:
        """How many records are not settled."""
        return len(self._open)

    def accept(self, record: Record) -> None:
        """Take *record* in and have it written soon; for jobs that may run twice.

        Raises:
            JournalFailed: The disk has failed; the job must not be accepted.
            ValueError: A job of this id is not settled yet.
        """
        self._check_new(record)
        self._writer.put(record)
        self._take_in(record)

    async def accept_durably(self, record: Record) -> None:
        """Take *record* in and return when it is on the disk; for jobs that have an effect.

        A caller that is cancelled has to treat the job as accepted.

        Raises:
            JournalFailed: It may not be on the disk; the job must not be accepted. A restart may
                still find it there, as if the process had died before it could say so.
            ValueError: A job of this id is not settled yet.
        """
        self._check_new(record)
        durable = dataclasses.replace(record, durable=True)
        self._take_in(record)
        try:
            await self._writer.put_durably(durable)
        except JournalFailed:
            self._drop(record.job)
            raise
        if self._open.get(record.job) is record:
            self._open[record.job] = durable

    def finish(self, job: str, outcome: Mapping[str, JsonValue]) -> None:
        """Note how *job* ended, and have it written soon. Never raises for the disk's sake.

        Raises:
            KeyError: There is no such open job.
        """
        self._put_if_possible(self._finished(job, outcome))

    async def finish_durably(self, job: str, outcome: Mapping[str, JsonValue]) -> None:
        """Note how *job* ended and return when that is on the disk.

        Raises:
            KeyError: There is no such open job.
            JournalFailed: It may not be on the disk; in memory the job is finished all the same.
        """
        await self._writer.put_durably(self._finished(job, outcome))

    def settle(self, job: str) -> bool:
        """Note that the outcome of *job* is in safe hands; return whether it was finished.

        A job that still runs stays as it is, whatever the control plane says. Idempotent.
        """
        record = self._open.get(job)
        if record is None or record.state != "finished":
            return False
        self._drop(job)
        self._settled.add(hash(job))
        metrics.journal_records.labels("settled").set(len(self._settled))
        self._settling[job] = settled(record)
        self._put_if_possible(self._settling[job])
        return True

    def close(self) -> None:
        """Write what is queued and let go of the file. Waits up to 30 s; idempotent."""
        if self._writer.close():
            self._file.close()

    def _load(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row.state == "settled":
                self._settled.add(hash(row.job))
            else:
                self._open[row.job] = record_of(row)
        for state in ("accepted", "finished"):
            count = sum(record.state == state for record in self._open.values())
            metrics.journal_records.labels(state).set(count)
        metrics.journal_records.labels("settled").set(len(self._settled))

    def _put_if_possible(self, record: Record) -> None:
        # A failure is told by `failed`, and the job's outcome can be reported without a disk.
        with contextlib.suppress(JournalFailed):
            self._writer.put(record)

    def _check_new(self, record: Record) -> None:
        if record.job in self._open:
            raise ValueError("a job of this id is open already")

    def _take_in(self, record: Record) -> None:
        self._open[record.job] = record
        metrics.journal_records.labels(record.state).inc()

    def _drop(self, job: str) -> None:
        metrics.journal_records.labels(self._open.pop(job).state).dec()

    def _finished(self, job: str, outcome: Mapping[str, JsonValue]) -> Record:
        record = dataclasses.replace(self._open[job], state="finished", outcome=outcome)
        self._drop(job)
        self._take_in(record)
        return record

    def _write(self, records: list[Record], sync: bool) -> None:
        """Runs on the writer's thread; of several records of a job only the last is stored."""
        newest = {record.job: record for record in records}
        self._file.write([row_of(record) for record in newest.values()], sync=sync)
        done = [job for job, record in newest.items() if record.state == "settled"]
        for job in done:
            self._settling.pop(job, None)
        self._settled_since_cleaning += len(done)
        if self._settled_since_cleaning >= _SETTLED_BETWEEN_CLEANINGS:
            self._clean()

    def _clean(self) -> None:
        oldest = time.time() - REMEMBERED_DAYS * 86400
        for job in self._file.forget(settled_before=oldest, keep=MOST_SETTLED):
            self._settled.discard(hash(job))
        self._settled_since_cleaning = 0
