"""A disk that fails or lies: row 33 of the threat model, by the agent as a process."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.world import AGENT
from tests.threats.fortress import Fortress

COUNTED = {"pipeline": "train-talkative", "wait": True}


@pytest.fixture
def tiny(fortress: Fortress) -> dict:
    """A job that needs nothing but the agent."""
    (fortress.files / "tiny").write_bytes(b"tiny")
    parameters = {"uri": f"{fortress.files.as_uri()}/tiny"}
    return {"agent": AGENT, "kind": "fetch-artifact", "parameters": parameters}


@pytest.fixture
def mended(fortress: Fortress) -> Iterator[None]:
    """Whatever a test did to the disk, the next one finds an agent that works, and a whole log."""
    yield
    fortress.agent.stop()
    (fortress.agent_state / "audit.jsonl").unlink()
    fortress.restart_agent()


def fill_disk(fortress: Fortress) -> None:
    """Let no file of the agent grow beyond the largest of its journal; its log is smaller."""
    full = max(path.stat().st_size for path in fortress.agent_state.glob("journal.db*"))
    assert full > 2 * (fortress.directory / "agent.log").stat().st_size
    resource.prlimit(fortress.agent.pid, resource.RLIMIT_FSIZE, (full, full))


def start_with_empty_log(fortress: Fortress) -> None:
    fortress.agent.stop()
    (fortress.directory / "agent.log").unlink()
    fortress.start_agent()


@pytest.mark.usefixtures("mended")
def test_a_full_disk_stops_new_jobs_and_loses_none(fortress: Fortress, tiny: dict):
    start_with_empty_log(fortress)
    accepted = [fortress.rest("/jobs", tiny)["id"] for _ in range(40)]
    assert {"succeeded"} == {fortress.ended(job)["state"] for job in accepted}

    fill_disk(fortress)
    while fortress.agent_is_ready():
        accepted.append(fortress.rest("/jobs", tiny)["id"])
        fortress.ended(accepted[-1])
    late = [fortress.ended(fortress.rest("/jobs", body)["id"]) for body in (tiny, trigger())]

    assert {("refused", "internal")} == {(job["state"], job["reason"]) for job in late}
    assert 0 == fortress.runs_of(late[1]["id"])
    assert fortress.agent.running
    assert b'"event":"job.not_recorded"' in fortress.log_bytes()
    fortress.restart_agent()
    assert "succeeded" == fortress.submit(tiny["kind"], **tiny["parameters"])["state"]
    assert {"succeeded", "refused"} >= {fortress.ended(job)["state"] for job in accepted}


def trigger() -> dict:
    return {"agent": AGENT, "kind": "trigger-pipeline", "parameters": COUNTED}


@pytest.mark.usefixtures("mended")
def test_a_damaged_journal_is_found_at_the_start_and_left_as_it_is(fortress: Fortress, tiny: dict):
    """The agent does not run on what it can't trust; with the file mended it goes on."""
    assert "succeeded" == fortress.submit(tiny["kind"], **tiny["parameters"])["state"]
    fortress.agent.stop()
    path = fortress.agent_state / "journal.db"
    whole = path.read_bytes()
    broken = damaged(path, whole)

    fortress.start_agent(wait=False)
    code = fortress.agent.process.wait(20)

    assert code not in (0, -signal.SIGSEGV)
    assert path.name in fortress.agent.log_tail(3)
    assert "Traceback" not in fortress.agent.log_tail(3)
    assert broken == path.read_bytes()
    path.write_bytes(whole)


def damaged(path: Path, whole: bytes) -> bytes:
    """Flip bits where the contents stand, leaving the head of the file as it was."""
    middle = len(whole) * 3 // 4
    broken = whole[:middle] + bytes(byte ^ 0xFF for byte in whole[middle:])
    path.write_bytes(broken)
    return broken


@pytest.mark.usefixtures("mended")
def test_a_torn_last_line_of_the_audit_log_is_no_reason_to_stop(fortress: Fortress, tiny: dict):
    """A power cut leaves half a line."""
    fortress.submit(tiny["kind"], **tiny["parameters"])
    fortress.agent.process.kill()
    fortress.agent.process.wait()
    path = fortress.agent_state / "audit.jsonl"
    path.write_bytes(path.read_bytes()[:-20])

    fortress.start_agent()

    assert "succeeded" == fortress.submit(tiny["kind"], **tiny["parameters"])["state"]
