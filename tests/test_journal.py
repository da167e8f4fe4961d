import asyncio
import multiprocessing
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import journal as journal_module
from agent.errors import JournalFailed, UsageError
from agent.journal import Journal, Record
from agent.telemetry import metrics
from tests.waiting import until


def _record(job: str = "job-1", **more: object) -> Record:
    return Record(job, "d" * 64, "fetch-artifact", {"uri": "s3://ml/x"}, **more)  # type: ignore[arg-type]


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture(name="journal")
def _journal(path: Path) -> Iterator[Journal]:
    journal = Journal.open(path)
    yield journal
    journal.close()


def _reopened(path: Path, journal: Journal) -> Journal:
    journal.close()
    return Journal.open(path)


class TestLifeOfAJob:
    async def test_an_accepted_job_is_found_at_once(self, journal: Journal) -> None:
        journal.accept(record := _record())

        assert journal.find("job-1") == record
        assert await journal.lookup("job-1") == record
        assert journal.unsettled() == [record]

    def test_an_accepted_job_outlives_the_process(self, journal: Journal, path: Path) -> None:
        journal.accept(record := _record(deadline_at=1e9))

        again = _reopened(path, journal)

        assert again.unsettled() == [record]
        again.close()

    async def test_a_durable_job_says_so(self, journal: Journal) -> None:
        await journal.accept_durably(_record())

        found = journal.find("job-1")
        assert found is not None
        assert found.durable

    async def test_a_finished_job_keeps_its_outcome(self, journal: Journal, path: Path) -> None:
        journal.accept(_record())
        await journal.finish_durably("job-1", {"outcome": "succeeded"})

        again = _reopened(path, journal)

        [found] = again.unsettled()
        assert (found.state, found.outcome) == ("finished", {"outcome": "succeeded"})
        again.close()

    async def test_a_settled_job_is_known_and_not_open(self, journal: Journal, path: Path) -> None:
        journal.accept(_record())
        journal.finish("job-1", {"outcome": "failed", "reason": "not_found"})
        assert journal.settle("job-1")

        again = _reopened(path, journal)

        found = await again.lookup("job-1")
        assert again.unsettled() == []
        assert found is not None
        assert (found.state, found.digest, found.parameters) == ("settled", "d" * 64, {})
        assert found.outcome == {"outcome": "failed", "reason": "not_found"}
        again.close()

    async def test_a_settled_job_is_known_before_it_is_written(self, journal: Journal) -> None:
        journal.accept(_record())
        journal.finish("job-1", {})
        journal.settle("job-1")

        found = await journal.lookup("job-1")

        assert journal.find("job-1") is None
        assert found is not None
        assert found.state == "settled"

    async def test_a_large_outcome_is_kept_without_its_bulk(self, journal: Journal) -> None:
        journal.accept(_record())
        journal.finish(
            "job-1", {"outcome": "succeeded", "trailer": {}, "result": {"x": "y" * 9999}}
        )
        journal.settle("job-1")

        found = await journal.lookup("job-1")

        assert found is not None
        assert found.outcome == {"outcome": "succeeded", "trailer": {}}

    def test_a_running_job_is_not_settled_by_the_control_plane(self, journal: Journal) -> None:
        journal.accept(_record())

        assert not journal.settle("job-1")
        assert not journal.settle("never-heard-of")
        assert journal.find("job-1") is not None

    def test_an_open_id_is_not_accepted_twice(self, journal: Journal) -> None:
        journal.accept(_record())

        with pytest.raises(ValueError, match="open already"):
            journal.accept(_record())

    async def test_settled_ids_are_bounded(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal_module, "MOST_SETTLED", 10)
        monkeypatch.setattr(journal_module, "_SETTLED_BETWEEN_CLEANINGS", 1)
        for n in range(50):
            journal.accept(_record(f"job-{n}"))
            journal.finish(f"job-{n}", {})
            journal.settle(f"job-{n}")
        await journal.accept_durably(_record("last"))

        assert len(journal._settled) <= 50
        await until(lambda: len(journal._settled) == 10)

    def test_the_metric_counts_by_state(self, journal: Journal) -> None:
        journal.accept(_record("job-1"))
        journal.accept(_record("job-2"))
        journal.finish("job-2", {})

        counts = [metrics.journal_records.labels(s)._value.get() for s in ("accepted", "finished")]
        assert counts == [1, 1]

    def test_ten_thousand_jobs_are_found_again(self, journal: Journal, path: Path) -> None:
        for n in range(10_000):
            journal.accept(_record(f"job-{n}"))

        again = _reopened(path, journal)

        assert len(again.unsettled()) == 10_000
        again.close()


class TestTheFile:
    def test_it_is_for_its_owner_only(self, journal: Journal, path: Path) -> None:
        journal.accept(_record())
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}

        assert set(modes.values()) == {"0o600"}

    def test_a_second_agent_is_turned_away(self, journal: Journal, path: Path) -> None:
        code = (
            "import sys, pathlib; from agent.journal import Journal\n"
            "Journal.open(pathlib.Path(sys.argv[1]))"
        )
        second = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
        )

        assert (
            "UsageError: agent.state_dir: another agent uses this state directory" in second.stderr
        )
        with pytest.raises(UsageError, match="another agent"):
            Journal.open(path)

    def test_a_foreign_database_is_left_alone(self, path: Path) -> None:
        path.parent.mkdir()
        with sqlite3.connect(path) as foreign:
            foreign.execute("CREATE TABLE theirs (x)")
        foreign.close()
        before = path.read_bytes()

        with pytest.raises(
            JournalFailed, match=r"not a journal of this program\. Nothing was deleted"
        ):
            Journal.open(path)

        assert path.read_bytes() == before

    def test_a_file_that_is_no_database_is_left_alone(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_text("something else entirely " * 100)

        with pytest.raises(JournalFailed, match="Nothing was deleted"):
            Journal.open(path)

        assert path.read_text().startswith("something else")

    def test_a_symbolic_link_is_not_followed(self, path: Path, tmp_path: Path) -> None:
        path.parent.mkdir()
        path.symlink_to(tmp_path / "elsewhere")

        with pytest.raises(JournalFailed):
            Journal.open(path)

        assert not (tmp_path / "elsewhere").exists()

    def test_a_newer_journal_is_not_touched(self, journal: Journal, path: Path) -> None:
        journal.close()
        with sqlite3.connect(path) as newer:
            newer.execute("PRAGMA user_version = 99")
        newer.close()

        with pytest.raises(JournalFailed, match="newer version"):
            Journal.open(path)

    async def test_a_flipped_byte_is_found_wherever_it_is(
        self, journal: Journal, path: Path
    ) -> None:
        """Each byte of a durable record, flipped, keeps the journal from opening."""
        await journal.accept_durably(_record("job-flipped"))
        journal.close()
        sound = path.read_bytes()
        at = sound.index(b"job-flipped")

        for offset in range(at, at + 150, 7):
            path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 4]) + sound[offset + 1 :])
            with pytest.raises(JournalFailed, match="Nothing was deleted"):
                Journal.open(path)
        path.write_bytes(sound)

        again = Journal.open(path)
        assert again.find("job-flipped") is not None
        again.close()

    async def test_what_is_durable_needs_no_write_ahead_log(
        self, journal: Journal, path: Path
    ) -> None:
        """SQLite drops a damaged end of that log silently; no promise may rest on it."""
        await journal.accept_durably(_record())

        main_file_alone = path.parent / "copy.db"
        main_file_alone.write_bytes(path.read_bytes())
        copy = Journal.open(main_file_alone)

        assert copy.find("job-1") is not None
        copy.close()


def _accept_and_wait(path: Path, jobs: int, told: "multiprocessing.connection.Connection") -> None:
    async def run() -> None:
        journal = Journal.open(path)
        for n in range(jobs):
            await journal.accept_durably(_record(f"job-{n}"))
            told.send(f"job-{n}")
        await asyncio.sleep(60)

    asyncio.run(run())


class TestCrash:
    @pytest.mark.parametrize("jobs", [1, 2, 30])
    def test_what_was_told_as_durable_survives_a_kill(self, path: Path, jobs: int) -> None:
        ours, theirs = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=_accept_and_wait, args=(path, jobs, theirs))
        process.start()
        told = {ours.recv() for _ in range(jobs)}
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()

        journal = Journal.open(path)

        assert told <= {record.job for record in journal.unsettled()}
        journal.close()


@pytest.fixture(name="limited_file_size")
def _limited_file_size() -> Iterator[None]:
    """No file can grow over 256 KiB: what a full disk looks like to SQLite."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, previous)


@pytest.mark.usefixtures("limited_file_size")
class TestFullDisk:
    async def _fill(self, journal: Journal) -> list[str]:
        told: list[str] = []
        for n in range(200):
            record = Record(f"job-{n}", "d", "trigger-pipeline", {"x": "y" * 8000})
            try:
                await journal.accept_durably(record)
            except JournalFailed:
                return told
            told.append(record.job)
        raise AssertionError("the disk never became full")

    async def test_it_takes_no_more_jobs_and_loses_none(self, journal: Journal, path: Path) -> None:
        told = await self._fill(journal)

        assert journal.failed is not None
        with pytest.raises(JournalFailed):
            journal.accept(_record("one-more"))
        assert {record.job for record in journal.unsettled()} == set(told)
        again = _reopened(path, journal)
        assert set(told) <= {record.job for record in again.unsettled()}
        again.close()

    async def test_running_jobs_go_on(self, journal: Journal) -> None:
        told = await self._fill(journal)

        journal.finish(told[0], {"outcome": "succeeded"})

        assert [r.job for r in journal.unsettled() if r.state == "finished"] == [told[0]]
        assert journal.settle(told[0])
        found = await journal.lookup(told[0])
        assert found is not None
        with pytest.raises(JournalFailed):
            await journal.finish_durably(told[1], {"outcome": "succeeded"})
