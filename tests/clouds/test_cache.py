"""Credentials are kept until shortly before their end, and only what was refused is dropped."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from agent.clouds.cache import CredentialCache
from agent.credentials import AwsCredentials
from agent.errors import CredentialUnavailable
from agent.secret import Secret


class Issuer:
    """Issues numbered credentials that live for *life*, and moves the clock when told to."""

    def __init__(self, life: timedelta | None) -> None:
        self.life = life
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.issued = 0
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> AwsCredentials:
        self.issued += 1
        number = Secret(str(self.issued))
        await self.gate.wait()
        if self.down:
            raise CredentialUnavailable(detail="the cloud is down")
        expires_at = self.now + self.life if self.life else None
        return AwsCredentials(number, number, None, None, None, expires_at)

    def cache(self, name: str = "ml") -> CredentialCache[AwsCredentials]:
        return CredentialCache(name, self.__call__, now=lambda: self.now, jitter=lambda: 0.0)


@pytest.mark.parametrize(
    ("life", "kept"),
    [
        (timedelta(hours=12), timedelta(hours=11, minutes=55)),
        (timedelta(minutes=15), timedelta(minutes=13, seconds=30)),
        (timedelta(minutes=3), timedelta(minutes=2)),
        (timedelta(seconds=10), timedelta(seconds=5)),
    ],
)
async def test_they_are_issued_again_a_tenth_before_their_end(life, kept):
    issuer = Issuer(life)
    cache = issuer.cache()
    await cache.get()

    issuer.now += kept - timedelta(seconds=0.1)
    await cache.get()
    assert 1 == issuer.issued
    issuer.now += timedelta(seconds=0.2)
    await cache.get()
    assert 2 == issuer.issued


async def test_what_somebody_else_renews_is_kept_no_longer_than_is_said():
    issuer = Issuer(timedelta(days=365))
    minute = timedelta(minutes=1)
    cache = CredentialCache("ml", issuer, keep_at_most=minute, now=lambda: issuer.now)
    await cache.get()

    issuer.now += minute
    await cache.get()

    assert 2 == issuer.issued


async def test_many_callers_cause_one_issue():
    issuer = Issuer(timedelta(hours=1))
    cache = issuer.cache()

    await asyncio.gather(*(cache.get() for _ in range(100)))

    assert 1 == issuer.issued


async def test_only_the_first_of_many_refusals_drops_them():
    issuer = Issuer(timedelta(hours=1))
    cache = issuer.cache()
    used = await cache.get()

    assert cache.drop(used)
    newer = await cache.get()

    assert not cache.drop(used)
    assert newer == await cache.get()


async def test_what_was_being_issued_during_a_drop_is_not_kept():
    issuer = Issuer(timedelta(minutes=2))
    cache = issuer.cache()
    used = await cache.get()
    issuer.now += timedelta(seconds=61)
    issuer.gate.clear()
    early = asyncio.create_task(cache.get())
    while issuer.issued < 2:
        await asyncio.sleep(0)

    assert cache.drop(used)
    issuer.gate.set()
    await asyncio.gather(early, cache.get())

    assert 3 == issuer.issued


async def test_an_outage_of_the_cloud_is_not_felt_before_their_end():
    issuer = Issuer(timedelta(minutes=50))
    cache = issuer.cache()
    first = await cache.get()
    issuer.now += timedelta(minutes=46)
    issuer.down = True

    assert first == await cache.get()
    issuer.now += timedelta(minutes=3, seconds=59)
    assert first == await cache.get()
    issuer.now += timedelta(seconds=2)
    with pytest.raises(CredentialUnavailable):
        await cache.get()


async def test_in_an_outage_others_are_asked_for_each_tenth_of_the_time_left():
    issuer = Issuer(timedelta(minutes=50))
    cache = issuer.cache()
    await cache.get()
    issuer.now += timedelta(minutes=46)
    issuer.down = True

    for _ in range(100):
        await cache.get()
    assert 2 == issuer.issued
    issuer.now += timedelta(seconds=25)
    await cache.get()
    assert 3 == issuer.issued


async def test_what_was_refused_is_not_used_in_an_outage_either():
    issuer = Issuer(timedelta(minutes=50))
    cache = issuer.cache()
    used = await cache.get()
    issuer.down = True

    cache.drop(used)

    with pytest.raises(CredentialUnavailable):
        await cache.get()


def _left(name: str) -> float | None:
    return REGISTRY.get_sample_value("cloud_agent_credential_expiry_seconds", {"connector": name})


async def test_the_time_left_is_a_metric_until_the_close():
    issuer = Issuer(timedelta(hours=1))
    cache = issuer.cache("closed")
    await cache.get()
    issuer.now += timedelta(minutes=10)
    assert 3000.0 == _left("closed")

    await cache.close()
    assert _left("closed") is None


async def test_what_was_refused_has_no_time_left():
    issuer = Issuer(timedelta(hours=1))
    cache = issuer.cache("refused")
    used = await cache.get()

    cache.drop(used)

    assert _left("refused") is None


async def test_closing_what_a_reload_replaced_leaves_the_metric_to_its_successor():
    old, new = Issuer(timedelta(hours=1)), Issuer(timedelta(hours=2))
    replaced, successor = old.cache("reloaded"), new.cache("reloaded")
    await replaced.get()
    await successor.get()
    assert 7200.0 == _left("reloaded")

    await replaced.close()
    assert 7200.0 == _left("reloaded")
    await successor.close()
    assert _left("reloaded") is None


async def test_closing_the_successor_first_gives_the_metric_back():
    old, new = Issuer(timedelta(hours=1)), Issuer(timedelta(hours=2))
    replaced, successor = old.cache("back"), new.cache("back")
    await replaced.get()
    await successor.get()

    await successor.close()
    assert 3600.0 == _left("back")
    await replaced.close()
    assert _left("back") is None
