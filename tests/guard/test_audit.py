import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.errors import JournalFailed, UsageError
from agent.guard.audit import AuditLog, verify

GENESIS = "0" * 64


def _redact(text: str) -> str:
    return text.replace("canary", "***")


def _open(path: Path) -> AuditLog:
    return AuditLog.open(path, redact=_redact)


def _write(path: Path, *jobs: str) -> None:
    log = _open(path)
    for job in jobs:
        log.record("job.decided", job=job, kind="fetch-artifact", allowed=True, rule=0, reason=None)
    log.close()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.jsonl"


class TestRecord:
    def test_a_line_holds_its_facts(self, path: Path) -> None:
        _write(path, "job-1")

        [line] = _lines(path)
        assert line.pop("at").endswith("+00:00")
        assert len(line.pop("hash")) == 64
        assert line == {
            "seq": 1,
            "event": "job.decided",
            "job": "job-1",
            "kind": "fetch-artifact",
            "allowed": True,
            "rule": 0,
            "reason": None,
            "prev": GENESIS,
        }

    def test_anyone_can_check_a_line_with_sha256(self, path: Path) -> None:
        """The hash is over the line's own bytes without the hash: no canonical form is needed."""
        _write(path, "job-1")

        text = path.read_bytes().removesuffix(b"\n")
        body, _, tail = text.rpartition(b',"hash":"')

        assert tail == hashlib.sha256(body + b"}").hexdigest().encode() + b'"}'

    def test_the_chain_goes_on_after_a_restart(self, path: Path) -> None:
        _write(path, "job-1", "job-2")
        _write(path, "job-3")

        lines = _lines(path)
        assert [line["seq"] for line in lines] == [1, 2, 3]
        assert [line["prev"] for line in lines] == [GENESIS, lines[0]["hash"], lines[1]["hash"]]
        assert verify(path).problem is None

    async def test_a_durable_line_is_there_on_return(self, path: Path) -> None:
        log = _open(path)
        await log.record_durably("credential.used", job="job-1", reference="secret://vault/x#y")

        assert len(_lines(path)) == 1
        log.close()

    def test_no_secret_gets_in(self, path: Path) -> None:
        log = _open(path)
        log.record("job.ended", job="job-1", reason="at canary\n\x1b[2J")
        log.close()

        assert "canary" not in path.read_text()
        assert path.read_text().removesuffix("\n").isprintable()

    def test_a_fact_cannot_pose_as_a_field(self, path: Path) -> None:
        log = _open(path)
        with pytest.raises(ValueError, match="hash, prev"):
            log.record("job.ended", prev="x", hash="y")
        log.close()

    def test_it_is_for_its_owner_only(self, path: Path) -> None:
        _write(path, "job-1")

        assert oct(path.stat().st_mode & 0o777) == "0o600"

    def test_a_second_agent_is_turned_away(self, path: Path) -> None:
        log = _open(path)
        with pytest.raises(UsageError, match=r"^audit\.file: another agent writes"):
            _open(path)
        log.close()

    def test_a_symbolic_link_is_not_followed(self, path: Path, tmp_path: Path) -> None:
        path.parent.mkdir()
        path.symlink_to(tmp_path / "elsewhere")

        with pytest.raises(UsageError):
            _open(path)


class TestTampering:
    @pytest.fixture(name="jobs", autouse=True)
    def _jobs(self, path: Path) -> None:
        _write(path, *(f"job-{n}" for n in range(5)))

    def test_an_untouched_log_is_right(self, path: Path) -> None:
        report = verify(path)

        assert (report.problem, report.lines, report.torn) == (None, 5, 0)
        assert report.head == _lines(path)[-1]["hash"]

    def test_every_flipped_byte_is_found(self, path: Path) -> None:
        sound = path.read_bytes()

        for offset in range(0, len(sound) - 1, 13):
            path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 1]) + sound[offset + 1 :])
            assert verify(path).problem is not None, offset

    @pytest.mark.parametrize("change", ["removed", "repeated", "swapped", "blank", "first"])
    def test_every_change_of_lines_is_found(self, path: Path, change: str) -> None:
        a, b, c, *rest = path.read_bytes().splitlines(keepends=True)
        changed = {
            "removed": [a, c, *rest],
            "repeated": [a, b, b, c, *rest],
            "swapped": [a, c, b, *rest],
            "blank": [a, b"\n", b, c, *rest],
            "first": [b, c, *rest],
        }[change]
        path.write_bytes(b"".join(changed))

        problem = verify(path).problem

        assert problem is not None
        assert problem.startswith("line 1 " if change == "first" else ("line 2 ", "line 3 "))

    def test_a_cut_end_shows_in_the_head(self, path: Path) -> None:
        """The chain alone can't show it: that is what noting the head elsewhere is for."""
        noted = verify(path).head
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))

        report = verify(path)

        assert report.problem is None
        assert report.head != noted

    def test_a_changed_last_line_stops_the_agent(self, path: Path) -> None:
        text = path.read_text().replace('"job":"job-4"', '"job":"job-5"')
        path.write_text(text)

        with pytest.raises(JournalFailed, match="Nothing was changed"):
            _open(path)

        assert path.read_text() == text

    @pytest.mark.parametrize("text", ["hello\n", "hello", "{}\n", '{"at":"x"}\n'])
    def test_a_foreign_file_is_left_alone(self, path: Path, text: str) -> None:
        path.write_text(text)

        with pytest.raises(JournalFailed):
            _open(path)

        assert path.read_text() == text

    def test_a_later_file_starts_after_the_head_of_the_one_before(self, path: Path) -> None:
        first, *rest = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(rest))

        assert verify(path, starts_after=json.loads(first)["hash"]).problem is None


class TestTornLines:
    @pytest.mark.parametrize("cut", [2, 66, 75, 76, 100, 10_000])
    def test_a_torn_line_stays_and_is_vouched_for(self, path: Path, cut: int) -> None:
        _write(path, "job-1", "job-2")
        whole = path.read_bytes()
        second = whole.index(b"\n") + 1
        remains = whole[: max(second + 1, len(whole) - cut)]
        path.write_bytes(remains)
        torn = remains[second:]

        assert verify(path).torn_tail
        _write(path, "job-3")

        report = verify(path)
        assert path.read_bytes().startswith(remains)
        assert (report.problem, report.lines, report.torn) == (None, 3, 1)
        resumed = json.loads(path.read_bytes()[len(remains) :].splitlines()[1])
        assert (resumed["event"], resumed["torn_bytes"]) == ("audit.resumed", len(torn))

    def test_a_lost_newline_costs_no_line(self, path: Path) -> None:
        _write(path, "job-1")
        path.write_bytes(path.read_bytes().removesuffix(b"\n"))

        _write(path, "job-2")

        report = verify(path)
        assert (report.problem, report.lines, report.torn) == (None, 3, 0)

    def test_zeros_left_by_a_power_cut_are_vouched_for(self, path: Path) -> None:
        _write(path, "job-1")
        with path.open("ab") as file:
            file.write(b'{"at":"2026' + bytes(100))

        _write(path, "job-2")

        assert (verify(path).problem, verify(path).torn) == (None, 1)

    def test_a_line_torn_while_vouching_is_vouched_for_too(self, path: Path) -> None:
        """A disk that is full at each restart tears one line after another."""
        _write(path, "job-1")
        with path.open("ab") as file:
            file.write(b'{"at":"2026')
        for torn in (b"\n", b"\n" + b'{"at":"2026-01', b"\n{"):
            with path.open("ab") as file:
                file.write(torn)

        _write(path, "job-2")

        report = verify(path)
        assert (report.problem, report.lines, report.torn) == (None, 3, 1)

    def test_changed_remains_are_found(self, path: Path) -> None:
        _write(path, "job-1")
        with path.open("ab") as file:
            file.write(b'{"at":"2026')
        _write(path, "job-2")

        path.write_bytes(path.read_bytes().replace(b'{"at":"2026\n', b'{"at":"2025\n'))

        assert verify(path).problem == "line 3 does not vouch for the torn line before it"

    def test_what_was_recorded_survives_a_kill(self, path: Path) -> None:
        code = (
            "import sys, os, asyncio, pathlib\n"
            "from agent.guard.audit import AuditLog\n"
            "log = AuditLog.open(pathlib.Path(sys.argv[1]), redact=str)\n"
            "asyncio.run(log.record_durably('job.ended', job='job-1'))\n"
            "os.kill(os.getpid(), 9)\n"
        )
        subprocess.run([sys.executable, "-c", code, path], check=False)

        assert [line["job"] for line in _lines(path)] == ["job-1"]


def test_a_full_disk_is_told_and_lets_the_log_go_on_later(path: Path) -> None:
    """No file can grow over 2,000 bytes meanwhile, so a line is torn."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log = _open(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        for n in range(100):
            log.record("job.ended", job=f"job-{n}")
        log.close()
    except JournalFailed:
        log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)

    assert log.failed is not None
    assert os.path.getsize(path) == 2000
    _write(path, "job-101")
    report = verify(path)
    assert (report.problem, report.torn) == (None, 1)
