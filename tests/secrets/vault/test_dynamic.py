"""Leased secrets: one lease for many readings, renewed while the agent runs, then expiring."""

import uuid

import pytest

from agent.errors import CredentialUnavailable
from tests.doubles.rabbitmq import running_rabbitmq
from tests.waiting import until


@pytest.fixture
def rabbit(root):
    """A queue whose users OpenBao makes, with a lease that the test sets."""
    with running_rabbitmq() as rabbit:
        root.sys.enable_secrets_engine("rabbitmq", "rabbitmq")
        connection = {
            "connection_uri": rabbit.address,
            "username": "admin",
            "password": uuid.uuid4().hex,
            "verify_connection": False,
        }
        root.adapter.post("/v1/rabbitmq/config/connection", json=connection)
        vhosts = '{"/": {"configure": "", "write": "", "read": ".*"}}'
        root.adapter.post("/v1/rabbitmq/roles/ml", json={"vhosts": vhosts})
        yield rabbit
        root.sys.disable_secrets_engine("rabbitmq")


@pytest.fixture
def lease(root):
    def set_(ttl: int, max_ttl: int) -> None:
        root.adapter.post("/v1/rabbitmq/config/lease", json={"ttl": ttl, "max_ttl": max_ttl})

    return set_


async def _user(store) -> str:
    return (await store.read("rabbitmq/creds/ml")).fields["username"].reveal()


async def test_one_lease_serves_many_readings(open_store, rabbit, lease):
    lease(60, 600)
    store = open_store(engine="dynamic")

    first = await store.read("rabbitmq/creds/ml")
    second = await store.read("rabbitmq/creds/ml")

    assert first.fields == second.fields
    assert 1 == rabbit.made
    assert 50 < second.expires_in <= 60


async def test_a_lease_is_renewed_as_long_as_the_agent_runs(open_store, rabbit, lease, root):
    lease(2, 3600)
    store = open_store(engine="dynamic")
    user = await _user(store)
    (held,) = store._dynamic._current.values()
    first_end = held.lease.expires_at

    await until(lambda: held.lease.expires_at > first_end + 2.0)

    assert user in rabbit.users
    assert user == await _user(store)


async def test_near_its_maximum_a_new_secret_is_made(open_store, rabbit, lease):
    lease(2, 3)
    store = open_store(engine="dynamic")
    first = await _user(store)
    (held,) = store._dynamic._current.values()

    await until(lambda: held.lease.ending)

    assert first in rabbit.users
    assert first != await _user(store)


async def test_after_forget_there_is_a_new_one_and_the_old_one_lives_on(open_store, rabbit, lease):
    lease(60, 600)
    store = open_store(engine="dynamic")
    old = await _user(store)

    store.forget("rabbitmq/creds/ml")
    new = await _user(store)

    assert {old, new} <= rabbit.users


async def test_close_leaves_a_lease_to_expire_by_itself(open_store, new_role, rabbit, lease, root):
    """A pipeline that outlives the agent may still be using it."""
    lease(600, 6000)
    store = open_store(new_role().login(), engine="dynamic")
    user = await _user(store)
    (held,) = store._dynamic._current.values()

    await store.close()

    assert root.auth.token.lookup(held.token.secret.reveal())["data"]["ttl"] > 0
    assert root.sys.read_lease(held.lease_id)["data"]["ttl"] > 0
    assert user in rabbit.users


async def test_a_secret_is_not_promised_for_longer_than_its_token(
    open_store, new_role, rabbit, lease
):
    lease(600, 6000)
    store = open_store(new_role(token_ttl="30s").login(), engine="dynamic")

    value = await store.read("rabbitmq/creds/ml")

    assert value.expires_in <= 30


async def test_a_missing_role_is_unavailable_at_once(open_store, rabbit):
    with pytest.raises(CredentialUnavailable):
        await open_store(engine="dynamic").read("rabbitmq/creds/missing")
