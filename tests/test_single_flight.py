"""Work that many ask for is done once."""

import asyncio

import pytest

from agent.errors import CredentialUnavailable
from agent.single_flight import SingleFlight


class Work:
    """Counts its runs and ends when told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.runs += 1
        await self.go.wait()
        return self.runs


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def flights() -> SingleFlight[str, int]:
    return SingleFlight()


async def _started(flights, work, count):
    callers = [asyncio.create_task(flights.run("key", work.__call__)) for _ in range(count)]
    while not work.runs:
        await asyncio.sleep(0)
    return callers


async def test_many_callers_share_one_run(flights, work):
    callers = await _started(flights, work, 100)

    work.go.set()

    assert [1] * 100 == await asyncio.gather(*callers)


async def test_a_cancelled_first_caller_does_not_fail_the_others(flights, work):
    first, *others = await _started(flights, work, 3)

    first.cancel()
    work.go.set()

    assert [1, 1] == await asyncio.gather(*others)
    assert first.cancelled()


async def test_a_failure_reaches_every_caller_and_is_not_kept(flights):
    async def fails() -> int:
        raise CredentialUnavailable(detail="down")

    results = await asyncio.gather(
        *(flights.run("key", fails) for _ in range(3)), return_exceptions=True
    )

    assert [CredentialUnavailable] * 3 == [type(result) for result in results]

    async def works() -> int:
        return 7

    assert 7 == await flights.run("key", works)


async def test_after_forget_a_new_run_starts_beside_the_old_one(flights, work):
    (old,) = await _started(flights, work, 1)

    flights.forget("key")
    new = asyncio.create_task(flights.run("key", work.__call__))
    work.go.set()
    await asyncio.gather(old, new)

    assert 2 == work.runs


async def test_close_ends_the_wait_with_an_error_and_not_with_a_cancellation(flights, work):
    (caller,) = await _started(flights, work, 1)

    await flights.close()

    with pytest.raises(CredentialUnavailable):
        await caller
