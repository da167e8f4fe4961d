"""How long the link waits between connects: by itself, and against a server that drops us."""

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from agent.link.backoff import FINAL_WAIT, Backoff
from tests.doubles.scripted_control_plane import ScriptedLink, running
from tests.link.agents import Impatient, connecting
from tests.waiting import until

SECONDS = st.floats(0, 1e6)


def longest(_low: float, high: float) -> float:
    return high


def shortest(low: float, _high: float) -> float:
    return low


def test_the_ceiling_doubles_up_to_the_longest():
    backoff = Backoff(first=0.5, longest=30, draw=longest)

    assert [0.5, 1, 2, 4, 8, 16, 30, 30] == [backoff.delay(lasted=0) for _ in range(8)]


def test_the_jitter_is_full():
    """Any delay from nothing to the ceiling, or agents cut off together come back together."""
    backoff = Backoff(first=4, draw=shortest)

    assert [0, 0, 0] == [backoff.delay(lasted=0) for _ in range(3)]


def test_it_counts_on_for_years():
    backoff = Backoff(longest=30, draw=longest)

    assert {30} == {backoff.delay(lasted=0) for _ in range(10_000)} - {0.5, 1, 2, 4, 8, 16}


def test_a_connection_that_did_not_last_resets_nothing():
    backoff = Backoff(first=1, stable_after=10, draw=longest)

    assert [1, 2, 4] == [backoff.delay(lasted=9.9) for _ in range(3)]


def test_a_connection_that_lasted_resets():
    backoff = Backoff(first=1, stable_after=10, draw=longest)
    backoff.delay(lasted=0)
    backoff.delay(lasted=0)

    assert [1, 2] == [backoff.delay(lasted=10), backoff.delay(lasted=0)]


@given(st.floats(0.001, 3600), SECONDS, st.booleans(), st.integers(0, 40))
def test_never_less_than_the_named_time(retry_after, lasted, final, failures):
    """Final or not, with jitter behind it and not around it."""
    soonest, latest = (Backoff(draw=draw, _failures=failures) for draw in (shortest, longest))

    least = soonest.delay(lasted=lasted, retry_after=retry_after, final=final)
    most = latest.delay(lasted=lasted, retry_after=retry_after, final=final)

    assert least >= retry_after
    assert most >= least + retry_after / 4


@given(st.one_of(st.none(), st.floats(0, 3600)), SECONDS)
def test_after_a_final_refusal_it_asks_every_few_minutes(retry_after, lasted):
    """It does ask: the far end may have been mended."""
    delay = Backoff().delay(lasted=lasted, retry_after=retry_after, final=True)

    assert FINAL_WAIT / 2 <= delay <= 2 * max(FINAL_WAIT, retry_after or 0)


@given(st.lists(SECONDS, max_size=20), st.floats(0.001, 10), st.floats(10, 100))
def test_every_delay_is_within_its_ceiling(lasted, first, most):
    backoff = Backoff(first=first, longest=most)

    assert all(0 <= backoff.delay(lasted=seconds) <= most for seconds in lasted)


async def welcome_and_close(link: ScriptedLink) -> None:
    await link.greet()
    await link.connection.close(1000)


async def test_a_server_that_welcomes_and_drops_is_asked_ever_less(identity):
    """A welcome alone is no reason to come back at once."""
    backoff = Backoff(first=0.02, longest=0.16, draw=longest)
    scripts = [welcome_and_close] * 7
    started = time.monotonic()

    async with running(*scripts) as plane, connecting(plane.url, identity, backoff=backoff):
        await until(lambda: len(plane.requests) == 6)

    assert time.monotonic() - started >= 0.02 + 0.04 + 0.08 + 0.16 + 0.16


async def test_what_lasted_is_counted_from_the_welcome(identity):
    """Neither a slow proxy nor a slow welcome looks like a stable connection."""
    started = asyncio.Event()

    async def late_and_short(link: ScriptedLink) -> None:
        await asyncio.wait_for(started.wait(), 5)
        await welcome_and_close(link)

    async with running(late_and_short) as plane, connecting(plane.url, identity) as agent:
        await until(lambda: plane.links)
        asyncio.get_running_loop().call_later(0.2, started.set)
        await until(lambda: agent.backoff.asked)

    assert 0 < agent.backoff.asked[0].lasted < 0.15


async def test_it_never_gives_up(identity):
    """Whatever happens, and however often."""
    scripts = [welcome_and_close] * 50

    async with running(*scripts) as plane, connecting(plane.url, identity) as agent:
        await until(lambda: len(plane.requests) == 51)
        await agent.up()


async def test_it_never_gives_up_on_nobody(identity):
    """Nothing listens there at all."""
    backoff = Impatient()
    async with connecting("ws://127.0.0.1:9/agent/v1/connect", identity, backoff=backoff):
        await until(lambda: len(backoff.asked) >= 50)
