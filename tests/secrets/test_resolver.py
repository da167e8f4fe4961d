"""References become secrets: once for many, for a while, and never unknown to the redactor."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from agent.errors import CredentialUnavailable
from agent.secret_reference import SecretReference
from agent.secrets.resolver import OpenStore, SecretResolver
from tests.doubles.secret_stores import MemorySecretStore

CACHE = 300.0
KEY = SecretReference(store="memory", path="ml/s3", field="key")
ID = SecretReference(store="memory", path="ml/s3", field="id")


class Clock:
    """Time that moves when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemorySecretStore:
    return MemorySecretStore({"ml/s3": {"key": "first", "id": "one"}})


@pytest.fixture
def seen() -> list:
    return []


@pytest.fixture
def used() -> list:
    return []


@pytest.fixture
async def resolver(store, clock, seen, used):
    stores = {"memory": OpenStore(store, "env", CACHE)}
    resolver = SecretResolver(stores, on_secret=seen.append, on_use=used.append, clock=clock)
    yield resolver
    await resolver.close()


async def test_a_hundred_callers_cause_one_reading(resolver, store):
    store.gate.clear()
    callers = [asyncio.create_task(resolver.resolve(KEY)) for _ in range(100)]
    await asyncio.sleep(0)
    store.gate.set()

    values = {secret.reveal() for secret in await asyncio.gather(*callers)}

    assert ({"first"}, 1) == (values, store.reads)


async def test_a_value_is_read_again_when_its_time_in_the_cache_is_over(resolver, store, clock):
    await resolver.resolve(KEY)
    store.contents["ml/s3"] = {"key": "second"}

    clock.now += CACHE - 1
    assert "first" == (await resolver.resolve(KEY)).reveal()
    clock.now += 1
    assert "second" == (await resolver.resolve(KEY)).reveal()


async def test_versions_of_one_path_are_kept_apart(resolver, store):
    store.versions["ml/s3", "1"] = {"key": "zeroth"}
    old = KEY.model_copy(update={"version": "1"})

    values = [(await resolver.resolve(one)).reveal() for one in (KEY, old, KEY, old)]

    assert (["first", "zeroth"] * 2, 2) == (values, store.reads)


@pytest.mark.parametrize(("lease", "kept"), [(3600.0, 3540.0), (10.0, 8.0)])
async def test_a_leased_value_is_read_again_shortly_before_its_end(
    resolver, store, clock, lease, kept
):
    store.expires_in = lease
    await resolver.resolve(KEY)

    clock.now += kept - 0.1
    await resolver.resolve(KEY)
    assert 1 == store.reads
    clock.now += 0.2
    await resolver.resolve(KEY)
    assert 2 == store.reads


async def test_what_remains_of_a_lease_is_told(resolver, store, clock):
    store.expires_in = 100.0
    await resolver.resolve(KEY)
    clock.now += 30

    assert 70.0 == (await resolver.resolve_together([KEY])).expires_in


async def test_fields_of_one_path_come_from_one_reading(resolver, store):
    resolved = await resolver.resolve_together([ID, KEY])

    assert ["one", "first"] == [secret.reveal() for secret in resolved.secrets]
    assert 1 == store.reads


async def test_after_invalidate_the_rotated_value_is_seen(resolver, store):
    await resolver.resolve(KEY)
    store.contents["ml/s3"] = {"key": "second"}

    resolver.invalidate(KEY)

    assert "second" == (await resolver.resolve(KEY)).reveal()
    assert ["ml/s3"] == store.forgotten


async def test_what_was_being_read_during_invalidate_is_not_kept(resolver, store):
    store.gate.clear()
    early = asyncio.create_task(resolver.resolve(KEY))
    while not store.reads:
        await asyncio.sleep(0)
    store.contents["ml/s3"] = {"key": "second"}

    resolver.invalidate(KEY)
    store.gate.set()

    assert "first" == (await early).reveal()
    assert "second" == (await resolver.resolve(KEY)).reveal()


async def test_the_redactor_hears_of_a_value_once_and_of_no_neighbour(resolver, seen):
    await resolver.resolve(KEY)
    await resolver.resolve(KEY)

    assert ["first"] == [secret.reveal() for secret in seen]


async def test_every_use_is_told_also_of_kept_values(resolver, used):
    await resolver.resolve(KEY)
    await resolver.resolve(KEY)

    assert ["secret://memory/ml/s3#key"] * 2 == used


async def test_a_missing_field_names_those_there_are_and_no_value(resolver, used):
    missing = SecretReference(store="memory", path="ml/s3", field="nope")

    with pytest.raises(CredentialUnavailable) as failure:
        await resolver.resolve(missing)

    assert "it has: id, key" in failure.value.detail
    assert "first" not in failure.value.detail
    assert [] == used


async def test_the_only_field_needs_no_name(resolver, store):
    store.contents["token"] = {"value": "alone"}

    secret = await resolver.resolve(SecretReference(store="memory", path="token"))

    assert "alone" == secret.reveal()


async def test_an_unknown_store_is_named(resolver):
    with pytest.raises(CredentialUnavailable) as failure:
        await resolver.resolve(SecretReference(store="valt", path="x"))

    assert "'valt'" in failure.value.detail


async def test_readings_are_counted_by_outcome(resolver):
    def count(outcome: str) -> float:
        labels = {"store_type": "env", "outcome": outcome}
        return REGISTRY.get_sample_value("cloud_agent_credential_resolutions_total", labels) or 0.0

    before = count("ok"), count("failed")
    await resolver.resolve(KEY)
    with pytest.raises(CredentialUnavailable):
        await resolver.resolve(SecretReference(store="memory", path="missing"))

    assert (before[0] + 1, before[1] + 1) == (count("ok"), count("failed"))


async def test_close_closes_the_stores(resolver, store):
    await resolver.close()
    await resolver.close()

    assert store.closed


async def test_what_is_held_is_released_once(resolver, store):
    """A value that its store can keep valid is kept so until then, however often that is said."""
    held = await resolver.hold([KEY, ID], 60.0)
    assert (("first", "one"), True) == (tuple(s.reveal() for s in held.secrets), resolver.holding)
    assert [60.0] == store.holds

    for _ in range(2):
        held.release()

    assert ([], False) == (store.holds, resolver.holding)


async def test_what_needs_no_holding_holds_nothing_up(resolver, store):
    store.holdable = False

    held = await resolver.hold([KEY], 60.0)

    assert not resolver.holding
    held.release()


async def test_a_use_that_holds_is_told_and_registered_as_any_other(resolver, seen, used):
    held = await resolver.hold([KEY], 60.0)

    assert (["first"], [str(KEY)]) == ([secret.reveal() for secret in seen], used)
    held.release()


async def test_a_store_that_fails_to_close_keeps_no_other_open():
    closed = []

    class Store:
        def __init__(self, name: str) -> None:
            self.name = name

        async def close(self) -> None:
            closed.append(self.name)
            if self.name == "first":
                raise RuntimeError

    stores = {name: OpenStore(Store(name), "test", 60.0) for name in ("first", "second")}
    resolver = SecretResolver(stores, on_secret=lambda _: None, on_use=lambda _: None)

    await resolver.close()

    assert ["first", "second"] == closed
