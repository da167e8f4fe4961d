"""What the configuration's memory allows each of many jobs."""

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from agent.artifact_uri import ArtifactUri
from agent.artifacts.stores import ArtifactStores
from agent.parts import MAX_BLOCK, MAX_SEGMENT, MIN_BLOCK, MIN_SEGMENT, Parts, PartsOfNow, Readers

MIB = 1024 * 1024


def test_a_job_alone_reads_in_large_blocks():
    assert MAX_BLOCK == Readers(64 * MIB, count=1).block_bytes()


def test_many_jobs_share_the_memory():
    readers, blocks = Readers(64 * MIB), []
    for _ in range(64):
        readers.count += 1
        blocks.append(readers.block_bytes())

    assert MIN_BLOCK <= min(blocks) < max(blocks) == MAX_BLOCK
    assert 4 * sum(blocks) <= 2 * readers.memory


@pytest.mark.parametrize("jobs", [1, 4, 16, 64])
def test_uploads_that_run_share_half_of_the_memory(jobs):
    """Each keeps two segments; a segment is measured when it begins, so others make room."""
    segment = Readers(64 * MIB, count=jobs).segment_bytes()

    assert MIN_SEGMENT <= segment <= MAX_SEGMENT
    assert jobs * 2 * segment <= 32 * MIB


class Closing:
    """Parts that only know whether they were closed."""

    def __init__(self) -> None:
        self.tools = object()
        self.readers = Readers(64 * MIB)
        self.held = False
        self.closed = False

    @property
    def in_use(self) -> bool:
        return self.held or self.readers.count > 0

    async def close(self) -> None:
        self.closed = True


async def test_replaced_parts_are_closed_when_their_last_job_gives_them_back():
    old, new = Closing(), Closing()
    parts = PartsOfNow(old)
    with parts.lend() as tools:
        parts.replace(new)
        await parts.close_unused()
        assert (tools, False) == (old.tools, old.closed)

    await parts.close_unused()

    assert (True, False) == (old.closed, new.closed)
    with parts.lend() as tools:
        assert tools is new.tools


async def test_replaced_parts_stay_open_while_a_run_depends_on_their_secrets():
    old, new = Closing(), Closing()
    old.held = True
    parts = PartsOfNow(old)
    parts.replace(new)

    await parts.close_unused()
    assert not old.closed
    old.held = False
    await parts.close_unused()

    assert old.closed


class Part:
    """A part that notes in *log* that it was closed, and may fail at it."""

    def __init__(self, name: str, log: list[str], *, fails: bool = False) -> None:
        self.name = name
        self._log = log
        self._fails = fails

    async def close(self) -> None:
        self._log.append(self.name)
        if self._fails:
            raise RuntimeError("a value")


class Secrets(Part):
    holding = False


def parts_of(closed: list[str], *, fails: bool) -> Parts:
    stores = ArtifactStores(
        [
            (ArtifactUri.parse(f"mem://{name}/x"), Part(name, closed, fails=fails))
            for name in ("store-1", "store-2")
        ]
    )
    connectors = {name: Part(name, closed, fails=fails) for name in ("login-1", "login-2")}
    runners = Part("runners", closed, fails=fails)
    tools = SimpleNamespace(artifacts=stores, connectors=connectors, pipelines=runners)
    return Parts(tools, Secrets("secrets", closed, fails=fails), Readers(1))


ALL = ["runners", "store-1", "store-2", "login-1", "login-2", "secrets"]


async def test_a_part_that_can_not_be_closed_keeps_no_other_open():
    """Neither of the same configuration nor of another; each is told, without its text."""
    closed: list[str] = []
    parts = PartsOfNow(parts_of(closed, fails=True))
    parts.replace(parts_of(closed, fails=False))
    parts.replace(parts_of(closed, fails=True))

    with capture_logs() as logs:
        await parts.close_unused()
        await parts.close_unused()
        assert [*ALL, *ALL] == closed
        await parts.close()

    assert [*ALL, *ALL, *ALL] == closed
    assert [
        ("warning", "part.not_closed", "pipelines", "", "RuntimeError"),
        ("warning", "part.not_closed", "artifact store", "store-1", "RuntimeError"),
        ("warning", "part.not_closed", "artifact store", "store-2", "RuntimeError"),
        ("warning", "part.not_closed", "connector", "login-1", "RuntimeError"),
        ("warning", "part.not_closed", "connector", "login-2", "RuntimeError"),
        ("warning", "part.not_closed", "secret stores", "", "RuntimeError"),
    ] * 2 == [
        tuple(one[k] for k in ("log_level", "event", "kind", "name", "error")) for one in logs
    ]
