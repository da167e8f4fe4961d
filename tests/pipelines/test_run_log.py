"""The log is written up to its limit and read at any position, whatever its bytes are."""

import asyncio
import os
from pathlib import Path

import pytest

from agent.errors import NotFound
from agent.guard.redaction import Redactor
from agent.pipelines.base import LogChunk, RunState
from agent.pipelines.log_reader import read_log
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.run_directory import Ending, RunDirectory
from agent.pipelines.run_log import RunLog


@pytest.fixture
def at_work(tmp_path: Path):
    """A run whose supervisor is this test."""
    directory, lock = RunDirectories(tmp_path).claim("run", "it", patience=5)
    assert lock is not None
    directory.mark_started()
    yield directory
    os.close(lock)


def append(directory: RunDirectory, data: bytes) -> None:
    with directory.log.open("ab") as file:
        file.write(data)


async def read(directory: RunDirectory, offset: int = 0, *, follow: bool = False) -> list[LogChunk]:
    return [chunk async for chunk in read_log(directory, offset=offset, follow=follow)]


def run_log(path: Path, limit: int = 100) -> RunLog:
    return RunLog(path, redaction=Redactor().byte_stream(), limit=limit)


async def test_a_character_is_never_cut(at_work: RunDirectory):
    """The rest of it is left for the next reading, and positions are in bytes."""
    append(at_work, "gr\u00fc".encode()[:-1])

    assert [LogChunk(0, 2, "gr")] == await read(at_work)
    assert [] == await read(at_work, 2)
    append(at_work, "\u00fc\u00df".encode()[1:])
    assert [LogChunk(2, 6, "\u00fc\u00df")] == await read(at_work, 2)


async def test_other_bytes_are_replaced_and_positions_stay_right(at_work: RunDirectory):
    append(at_work, b"a\xff\xfeb\xc3")
    at_work.write_ending(Ending(RunState.SUCCEEDED, 0))

    assert [LogChunk(0, 5, "a\ufffd\ufffdb\ufffd")] == await read(at_work)
    assert [LogChunk(3, 5, "b\ufffd")] == await read(at_work, 3)


async def test_large_characters_cross_the_chunks_whole(at_work: RunDirectory):
    text = "\U0001f600" * 20000
    append(at_work, b"x" + text.encode())

    chunks = await read(at_work)

    assert "x" + text == "".join(chunk.text for chunk in chunks)
    assert max(chunk.end - chunk.offset for chunk in chunks) <= 32 * 1024


async def test_following_ends_with_the_run(at_work: RunDirectory):
    """What was written last, just before the end, is still read."""
    append(at_work, b"first\n")
    chunks = read_log(at_work, offset=0, follow=True)
    first = await anext(chunks)
    second = asyncio.ensure_future(anext(chunks))
    append(at_work, b"last\n")
    at_work.write_ending(Ending(RunState.FAILED, 1))

    assert ["first\n", "last\n"] == [first.text, (await second).text]
    assert [] == [chunk async for chunk in chunks]


async def test_a_run_that_is_removed_is_not_found(tmp_path: Path):
    with pytest.raises(NotFound):
        await read(RunDirectory(tmp_path / "run"), follow=True)


def test_the_limit_is_reached_exactly_without_a_cut(tmp_path: Path):
    log = run_log(tmp_path / "log", limit=6)
    log.write(b"abc")
    log.write(b"def")
    log.close()

    assert b"abcdef" == (tmp_path / "log").read_bytes()


def test_nothing_follows_the_cut(tmp_path: Path):
    log = run_log(tmp_path / "log", limit=4)
    for chunk in (b"abc", b"def", b"ghi"):
        log.write(chunk)
    log.close()

    assert b"abcd\n[log cut after 4 bytes]\n" == (tmp_path / "log").read_bytes()


def test_a_full_disk_costs_the_log_and_nothing_else():
    log = run_log(Path("/dev/full"))

    log.write(b"lost")
    log.write(b"lost as well")

    log.close()
