"""What is kept: group commit, schema version, files that fail, readers and their ends."""

import asyncio
import sqlite3
from contextlib import aclosing
from pathlib import Path

import pytest

from agent.errors import ProtocolError, UsageError
from agent.protocol.messages import JobRequest
from control_plane_stub.server import ServeOptions, running
from control_plane_stub.signals import Signal
from control_plane_stub.storage.content import ContentAborted, next_bytes
from control_plane_stub.storage.database import Database
from control_plane_stub.storage.kept import Kept
from control_plane_stub.storage.relayed import Relayed
from control_plane_stub.storage.spool import Writer
from tests.control_plane_stub.conftest import User
from tests.control_plane_stub.fake_agent import FakeAgent

SCHEMA = "CREATE TABLE numbers (n INTEGER PRIMARY KEY)"


def insert(number: int):  # type: ignore[no-untyped-def]
    return lambda connection: connection.execute("INSERT INTO numbers VALUES (?)", (number,))


async def test_one_failure_spoils_nothing_else(tmp_path: Path) -> None:
    """Work of one transaction succeeds or fails piece by piece."""
    database = Database(tmp_path / "db", schema=SCHEMA, version=1)
    work = [database.submit(insert(number)) for number in (1, 1, 2)]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    rows = await database.submit(lambda c: c.execute("SELECT n FROM numbers").fetchall())
    await database.close()

    assert isinstance(outcomes[1], sqlite3.IntegrityError)
    assert rows == [(1,), (2,)]


async def test_closing_finishes_what_was_submitted(tmp_path: Path) -> None:
    database = Database(tmp_path / "db", schema=SCHEMA, version=1)
    work = [database.submit(insert(number)) for number in range(100)]
    await database.close()

    assert all(one.done() and one.exception() is None for one in work)


async def test_state_of_another_version_is_not_touched(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "control-plane.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()

    with pytest.raises(UsageError, match="schema version 99"):
        async with running(ServeOptions(state_dir=tmp_path, listen_port=0)):
            pass


async def test_content_that_cannot_be_written_fails_its_job_only(
    user: User, agent: FakeAgent, tmp_path: Path
) -> None:
    """The job ends with a reason, the link stays, and the next job runs."""
    job = await user.submit()
    (tmp_path / "state" / "content" / job).mkdir()
    await agent.serve((await agent.next(JobRequest)).job, b"0123456789")
    view = await user.ended(job)
    other = await user.submit()
    await agent.serve((await agent.next(JobRequest)).job, b"0123456789")

    assert (view["state"], view["reason"]) == ("failed", "internal")
    assert (await user.ended(other))["state"] == "succeeded"


def kept(folder: Path, writer: Writer) -> Kept:
    content = Kept(folder / "content", writer=writer, changed=Signal(), limit=100)
    content.size = 10
    return content


async def test_the_last_byte_waits_for_the_trailer(tmp_path: Path) -> None:
    """Nobody who has all bytes has wrong ones."""
    writer = Writer()
    content = kept(tmp_path, writer)
    content.append(memoryview(b"0123456789"), lambda: None)
    async with aclosing(content.pieces(0, 10)) as pieces:
        assert await anext(pieces) == b"012345678"
        content.settle(complete=True)
        assert await anext(pieces) == b"9"
    await writer.close()


async def test_readers_of_what_will_never_be_whole_are_told(tmp_path: Path) -> None:
    writer = Writer()
    content = kept(tmp_path, writer)
    content.settle(complete=False)
    with pytest.raises(ContentAborted):
        _ = [piece async for piece in content.pieces(0, 10)]
    await writer.close()


async def test_the_slowest_reader_sets_the_allowance(tmp_path: Path) -> None:
    writer = Writer()
    content = kept(tmp_path, writer)
    assert content.allowance() == 100
    content.append(memoryview(b"0123456789"), lambda: None)
    async with aclosing(content.pieces(0, 10)) as slow, aclosing(content.pieces(5, 10)) as fast:
        await anext(slow)
        await anext(fast)
        assert content.allowance() == 4 * 1024 * 1024
    assert content.allowance() == 100
    await writer.close()


async def test_repeated_bytes_are_dropped_and_gaps_refused(tmp_path: Path) -> None:
    writer = Writer()
    content = kept(tmp_path, writer)
    content.append(memoryview(b"0123"), lambda: None)

    assert next_bytes(content, 2, memoryview(b"2345")) == b"45"
    for offset, piece in ((5, b"5"), (4, b"456789x")):
        with pytest.raises(ProtocolError):
            next_bytes(content, offset, memoryview(piece))
    await writer.close()


async def test_abandoned_content_holds_no_memory() -> None:
    writer = Writer()
    content = Relayed(writer=writer, changed=Signal(), initial=100)
    content.size = 10
    content.append(memoryview(b"01234"), lambda: None)
    content.abandon()
    content.append(memoryview(b"56789"), lambda: None)
    content.settle(complete=True)

    assert content.taken_whole() == []
    await writer.close()
