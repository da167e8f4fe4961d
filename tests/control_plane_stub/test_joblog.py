"""The log of a job survives a restart with its position, whatever the agent blacked out."""

from pathlib import Path

import pytest

from agent.errors import ProtocolError
from control_plane_stub.signals import Signal
from control_plane_stub.storage.joblog import JobLog, pieces
from control_plane_stub.storage.spool import Writer
from tests.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job"


async def logged(path: Path, *entries: tuple[int, int, str]) -> JobLog:
    writer = Writer()
    log = JobLog(path, writer=writer, changed=Signal())
    for offset, end, text in entries:
        log.append(offset, end, text)
    await until(lambda: log.readable)
    log.close()
    await writer.close()
    return log


async def text_of(log: JobLog) -> str:
    return b"".join([piece async for piece in pieces(log, 0)]).decode()


async def test_positions_are_the_agents_and_not_the_files(path: Path) -> None:
    """A secret of twenty characters went out as three; the next piece begins behind the twenty."""
    await logged(path, (0, 20, "***"), (20, 25, "more\n"))

    again = JobLog(path, writer=Writer(), changed=Signal())

    assert (8, 25) == (again.stored, again.end)


async def test_a_piece_without_its_mark_is_taken_again(path: Path) -> None:
    """As when the process was killed between the two."""
    await logged(path, (0, 4, "one\n"))
    with path.open("a") as file:
        file.write("two\n")

    log = await logged(path, (4, 8, "two\n"))

    assert "one\ntwo\n" == await text_of(log)


async def test_a_piece_that_is_here_already_is_dropped(path: Path) -> None:
    log = await logged(path, (0, 4, "one\n"), (0, 4, "one\n"))

    assert "one\n" == await text_of(log)


async def test_a_missing_piece_breaks_the_protocol(path: Path) -> None:
    log = JobLog(path, writer=Writer(), changed=Signal())

    with pytest.raises(ProtocolError):
        log.append(5, 9, "late")
