"""A transfer over a store that breaks off, lies, or is away: no byte is lost, doubled or mixed."""

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from agent.artifacts import resuming
from agent.artifacts.base import ByteRange
from agent.artifacts.resuming import ResumingArtifact
from agent.errors import (
    AccessDenied,
    Changed,
    CredentialUnavailable,
    JobError,
    NotFound,
    StoreUnavailable,
    Truncated,
)

DATA = bytes(range(256)) * 4
ETAG = '"v1"'

Step = int | JobError
"""So many bytes come, or this happens."""


class Answer:
    """What a store sends for a range of `DATA`: by *steps*, and then nothing more."""

    def __init__(self, span: ByteRange | None, steps: Sequence[Step], *, etag: str = ETAG,
                 size: int = len(DATA)) -> None:  # fmt: skip
        self.size = size
        self.etag = etag
        self.media_type = "text/csv"
        self.closed = False
        self._position = span.first if span else 0
        self._steps = list(steps)

    async def read(self) -> bytes:
        if self.closed or not self._steps:
            return b""
        step = self._steps.pop(0)
        if isinstance(step, JobError):
            raise step
        start, self._position = self._position, self._position + step
        return DATA[start : self._position]

    async def close(self) -> None:
        self.closed = True


class Store:
    """Answers one request after the other as *script* says, and remembers all of them."""

    def __init__(self, *script: Sequence[Step] | JobError) -> None:
        self._script = list(script)
        self.asked: list[tuple[ByteRange | None, str | None]] = []
        self.answers: list[Answer] = []
        self.etag = ETAG
        self.size = len(DATA)

    async def begin(self, span: ByteRange | None, etag: str | None) -> Answer:
        self.asked.append((span, etag))
        # The last line of the script goes on for ever.
        line = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(line, JobError):
            raise line
        self.answers.append(Answer(span, line, etag=self.etag, size=self.size))
        return self.answers[-1]

    async def transfer(self, span: ByteRange | None = None) -> ResumingArtifact:
        return ResumingArtifact(await self.begin(span, None), self.begin, span, store_type="s3")


async def read(transfer: ResumingArtifact) -> bytes:
    return b"".join([block async for block in transfer.blocks()])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "PATIENCE_SECONDS", 0.2)


BREAKS = [StoreUnavailable(), Truncated(), AccessDenied(), 0]


@pytest.mark.parametrize("break_", BREAKS, ids=lambda step: type(step).__name__)
async def test_it_goes_on_with_the_next_byte_of_the_same_version(break_: Step) -> None:
    """Zero bytes are the end of an answer that came too early."""
    store = Store([100, 200, break_], [724])

    assert DATA == await read(await store.transfer())
    assert [(None, None), (ByteRange(300, 1023), ETAG)] == store.asked
    assert store.answers[0].closed


@pytest.mark.parametrize(
    ("span", "rest"),
    [(ByteRange(10, 499), ByteRange(60, 499)), (ByteRange(10), ByteRange(60, 1023)),
     (ByteRange(10, 9999), ByteRange(60, 1023))],
)  # fmt: skip
async def test_a_range_goes_on_to_its_own_end(span: ByteRange, rest: ByteRange) -> None:
    assert rest.last is not None
    store = Store([50, Truncated()], [rest.last - 59])

    assert DATA[10 : rest.last + 1] == await read(await store.transfer(span))
    assert rest == store.asked[-1][0]


async def test_blocks_are_passed_on_as_they_came() -> None:
    """No byte is copied: what the source gives is what comes out."""
    block = DATA[:]
    store = Store([1024])
    transfer = await store.transfer()

    async def give() -> bytes:
        return block

    store.answers[0].read = give  # type: ignore[method-assign]

    assert block is await anext(transfer.blocks())


async def test_a_byte_between_breaks_is_progress(impatient: None) -> None:
    """It may break as often as it likes, as long as something comes."""
    store = Store([1, Truncated()])

    assert DATA == await read(await store.transfer())
    assert len(DATA) == len(store.asked)


async def test_a_store_that_comes_back_is_asked_until_it_does() -> None:
    away = [StoreUnavailable(), CredentialUnavailable(), StoreUnavailable()]
    store = Store([24, Truncated(detail="cut")], *away, [1000])

    with capture_logs() as logs:
        assert DATA == await read(await store.transfer())

    assert [("transfer.resumed", 24, "cut")] == [
        (line["event"], line["position"], line["why"]) for line in logs
    ]


@pytest.mark.parametrize(
    "failure", [StoreUnavailable(), CredentialUnavailable()], ids=lambda error: error.reason
)
async def test_a_store_that_stays_away_ends_it_with_its_reason(
    impatient: None, failure: JobError
) -> None:
    store = Store([24, Truncated()], failure)

    with pytest.raises(type(failure)), capture_logs() as logs:
        await read(await store.transfer())

    assert [] == logs


async def test_answers_without_a_byte_end_it(impatient: None) -> None:
    store = Store([24], [])

    with pytest.raises(Truncated):
        await read(await store.transfer())

    assert all(answer.closed for answer in store.answers)


async def test_newer_credentials_that_are_refused_end_it_at_once() -> None:
    store = Store([24, AccessDenied()], AccessDenied())

    with pytest.raises(AccessDenied):
        await read(await store.transfer())

    assert 2 == len(store.asked)


@pytest.mark.parametrize("gone", [Changed(), NotFound()], ids=lambda error: error.reason)
async def test_what_was_replaced_or_deleted_has_changed(gone: JobError) -> None:
    store = Store([24, Truncated()], gone)

    with pytest.raises(Changed):
        await read(await store.transfer())


@pytest.mark.parametrize(("name", "value"), [("etag", '"v2"'), ("size", 1025)])
async def test_another_version_is_not_mixed_in(name: str, value: object) -> None:
    """Not even where a store does not mind the etag that it is asked for."""
    store = Store([24, Truncated()], [1000])
    transfer = await store.transfer()
    setattr(store, name, value)

    with pytest.raises(Changed):
        await read(transfer)

    assert store.answers[-1].closed


async def test_without_an_etag_nothing_is_resumed() -> None:
    store = Store([24, StoreUnavailable()], [1000])
    store.etag = ""

    with pytest.raises(StoreUnavailable):
        await read(await store.transfer())

    assert 1 == len(store.asked)


async def test_closing_ends_it_also_while_it_is_being_resumed() -> None:
    store = Store([24, Truncated()], StoreUnavailable())
    transfer = await store.transfer()
    blocks = transfer.blocks()
    await anext(blocks)
    reading = asyncio.ensure_future(anext(blocks))
    while len(store.asked) < 2:
        await asyncio.sleep(0)

    await transfer.close()

    with pytest.raises(ValueError, match="outside of its context"):
        await reading
    await transfer.close()


async def test_only_bytes_that_came_are_counted() -> None:
    store = Store([100, Truncated()], [924])
    before = counted()

    await read(await store.transfer())

    assert len(DATA) == counted() - before


def counted() -> float:
    name = "cloud_agent_artifact_bytes_total"
    return REGISTRY.get_sample_value(name, {"store_type": "s3"}) or 0.0
