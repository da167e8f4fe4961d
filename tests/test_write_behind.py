import asyncio
import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from agent.errors import JournalFailed
from agent.write_behind import WriteBehind


class _Disk:
    """Keeps what is written; can be held up, and made to fail."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[int], bool]] = []
        self.free = threading.Event()
        self.free.set()
        self.failure: Exception | None = None

    def write(self, batch: list[int], sync: bool) -> None:
        assert self.free.wait(10)
        if self.failure is not None:
            raise self.failure
        self.batches.append((batch, sync))

    @property
    def items(self) -> list[int]:
        return [item for batch, _ in self.batches for item in batch]


@pytest.fixture(name="disk")
def _disk() -> _Disk:
    return _Disk()


@pytest.fixture(name="writer")
def _writer(disk: _Disk) -> Iterator[WriteBehind[int]]:
    writer = WriteBehind(disk.write, name="the disk")
    yield writer
    disk.free.set()
    writer.close()


def test_everything_is_written_in_order(disk: _Disk, writer: WriteBehind[int]) -> None:
    for n in range(1000):
        writer.put(n)
    assert writer.close()

    assert disk.items == list(range(1000))
    assert not any(sync for _, sync in disk.batches)


def test_putting_never_waits_for_the_disk(disk: _Disk, writer: WriteBehind[int]) -> None:
    disk.free.clear()

    for n in range(1000):
        writer.put(n)

    assert disk.items == []


async def test_a_durable_item_is_synced_when_it_returns(
    disk: _Disk, writer: WriteBehind[int]
) -> None:
    writer.put(1)
    await writer.put_durably(2)

    assert disk.items == [1, 2]
    assert disk.batches[-1][1]


async def test_those_who_wait_together_share_one_sync(
    disk: _Disk, writer: WriteBehind[int]
) -> None:
    disk.free.clear()
    waiting = [asyncio.create_task(writer.put_durably(n)) for n in range(100)]
    await asyncio.sleep(0)
    disk.free.set()

    await asyncio.gather(*waiting)

    assert len(disk.batches) <= 2


async def test_a_failure_reaches_everyone_and_is_final(
    disk: _Disk, writer: WriteBehind[int]
) -> None:
    disk.free.clear()
    disk.failure = JournalFailed("no space left")
    waiting = [asyncio.create_task(writer.put_durably(n)) for n in range(10)]
    await asyncio.sleep(0)

    with capture_logs() as logged:
        disk.free.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert ["no space left"] * 10 == [str(answer) for answer in answers]
    assert str(writer.failed) == "no space left"
    assert [(line["what"], line["why"]) for line in logged] == [("the disk", "no space left")]
    disk.failure = None
    with pytest.raises(JournalFailed, match="no space left"):
        writer.put(1)
    assert writer.close()
    assert disk.items == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_mistake_of_the_writer_leaves_nobody_waiting(
    disk: _Disk, writer: WriteBehind[int]
) -> None:
    disk.failure = ZeroDivisionError()

    with pytest.raises(JournalFailed, match="a mistake of its own"):
        await writer.put_durably(1)
    with pytest.raises(JournalFailed):
        writer.put(2)


async def test_a_caller_who_gives_up_disturbs_nobody(disk: _Disk, writer: WriteBehind[int]) -> None:
    disk.free.clear()
    waiting = [asyncio.create_task(writer.put_durably(n)) for n in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.wait([waiting[1]])
    disk.free.set()

    await asyncio.gather(waiting[0], waiting[2])

    assert waiting[1].cancelled()
    assert disk.items == [0, 1, 2]


def test_after_the_end_nothing_is_taken(writer: WriteBehind[int]) -> None:
    writer.close()

    with pytest.raises(JournalFailed, match="the disk is closed"):
        writer.put(1)
    assert writer.close()


def test_closing_does_not_wait_for_ever(disk: _Disk, writer: WriteBehind[int]) -> None:
    disk.free.clear()
    writer.put(1)

    assert not writer.close(timeout=0.05)
