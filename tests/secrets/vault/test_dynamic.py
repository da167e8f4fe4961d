"""Leased secrets: one lease for many readings, renewed while in use, revoked when that is over."""

import signal
import time

import pytest
from structlog.testing import capture_logs

from agent.errors import CredentialUnavailable
from agent.secrets.vault.session import FAREWELL
from agent.secrets.vault.token import TokenLogin
from tests.waiting import until

REVOKING = 'path "sys/leases/revoke" { capabilities = ["update"] }'
CREDS = "rabbitmq/creds/ml"


def _name(value) -> str:
    return value.fields["username"].reveal()


async def _user(store) -> str:
    return _name(await store.read(CREDS))


def _leased(store):
    """The one lease that is kept."""
    (leased,) = store._dynamic._kept
    return leased


async def test_one_lease_serves_many_readings(open_store, rabbit, lease):
    lease(60, 600)
    store = open_store(engine="dynamic")

    first = await store.read(CREDS)
    second = await store.read(CREDS)

    assert first.fields == second.fields
    assert 1 == rabbit.made
    assert 50 < second.expires_in <= 60


async def test_a_lease_is_renewed_while_somebody_reads_it(open_store, rabbit, lease):
    lease(2, 3600)
    store = open_store(engine="dynamic")
    user = await _user(store)
    two_lives = time.monotonic() + 4.0

    async def outlived() -> bool:
        assert user == await _user(store)
        return time.monotonic() > two_lives

    await until(outlived)

    assert {user} == rabbit.users


async def test_a_lease_is_revoked_when_nobody_reads_it_any_more(open_store, rabbit, lease):
    """Before it would end by itself, but not before the time that its readers were told."""
    lease(3, 3600)
    store = open_store(engine="dynamic")
    value = await store.read(CREDS)
    told = time.monotonic() + value.expires_in
    leased = _leased(store)

    await until(lambda: not rabbit.users)

    assert told < time.monotonic()
    assert leased.lease.remaining() > 0
    assert _name(value) != await _user(store)


async def test_near_its_maximum_a_new_secret_is_made_and_the_old_one_lives_on(
    open_store, rabbit, lease
):
    lease(2, 3)
    store = open_store(engine="dynamic")
    old = await _user(store)
    leased = _leased(store)

    async def ending() -> bool:
        return leased.lease.ending or (await _user(store), False)[1]

    await until(ending)
    new = await _user(store)

    assert {old, new} == rabbit.users
    assert old != new


async def test_what_was_refused_is_replaced_and_revoked_soon_after(open_store, rabbit, lease):
    lease(600, 6000)
    store = open_store(engine="dynamic", linger=0.5)
    old = await _user(store)

    store.forget(CREDS)
    new = await _user(store)

    assert {old, new} == rabbit.users
    await until(lambda: {new} == rabbit.users)


async def test_what_a_run_holds_is_renewed_until_it_is_released(open_store, rabbit, lease):
    """Though nobody reads it, and although it was refused somewhere else."""
    lease(2, 3600)
    store = open_store(engine="dynamic", linger=0.1)
    value = await store.read(CREDS)
    release = value.hold(3600.0)
    store.forget(CREDS)
    two_lives = time.monotonic() + 4.0

    await until(lambda: time.monotonic() > two_lives)
    assert {_name(value)} == rabbit.users
    for _ in range(2):
        release()

    await until(lambda: not rabbit.users)


async def test_close_revokes_what_ends_with_our_token(open_store, new_role, rabbit, lease, root):
    """For that our policy needs no right that is not in Vault's default policy."""
    lease(600, 6000)
    store = open_store(new_role().login(), engine="dynamic")
    await _user(store)
    token = _leased(store).token.secret.reveal()

    with capture_logs() as logs:
        await store.close()

    await until(lambda: not rabbit.users)
    assert [] == [event for event in logs if "revocation" in event["event"]]
    from hvac.exceptions import Forbidden, InvalidPath

    with pytest.raises((Forbidden, InvalidPath)):
        root.auth.token.lookup(token)


async def test_close_revokes_the_lease_alone_when_the_token_is_another_s(open_store, rabbit, lease):
    lease(600, 6000)
    store = open_store(TokenLogin(None), engine="dynamic")
    await _user(store)

    await store.close()

    await until(lambda: not rabbit.users)


async def test_close_leaves_what_a_run_holds_for_as_long_as_the_run_may_last(
    open_store, new_role, rabbit, lease, root
):
    """Its lease, and the token without which there is none; another lease is revoked."""
    lease(600, 600_000)
    root.adapter.post("/v1/rabbitmq/roles/ml2", json={"vhosts": '{"/": {"read": ".*"}}'})
    role = new_role(token_ttl="10m", token_max_ttl="24h")
    root.sys.create_or_update_policy("revoking", REVOKING)
    policies = {"token_policies": ["ml", "revoking"]}
    root.adapter.post(f"/v1/auth/approle/role/{role.name}", json=policies)
    store = open_store(role.login(), engine="dynamic")
    await store.read("rabbitmq/creds/ml2")
    held = await store.read(CREDS)
    held.hold(36_000.0)
    leased = store._dynamic._current[CREDS]

    with capture_logs() as logs:
        await store.close()

    await until(lambda: {_name(held)} == rabbit.users)
    assert root.auth.token.lookup(leased.token.secret.reveal())["data"]["ttl"] > 35_000
    assert root.sys.read_lease(leased.lease_id)["data"]["ttl"] > 35_000
    (left,) = (event for event in logs if event["event"] == "vault.lease_left")
    assert ("rabbitmq/creds/ml", 36_000) == (left["of"], left["wanted"])


async def test_the_end_waits_a_few_seconds_for_a_vault_that_hangs(
    open_store, new_role, openbao, rabbit, lease
):
    """Once for all leases, and once for the token."""
    lease(600, 6000)
    store = open_store(new_role().login(), engine="dynamic")
    value = await store.read(CREDS)
    value.hold(3600.0)
    for _ in range(3):
        store.forget(CREDS)
        await store.read(CREDS)
    openbao._server._signal(signal.SIGSTOP)
    started = time.monotonic()

    try:
        await store.close()
    finally:
        openbao._server._signal(signal.SIGCONT)

    assert time.monotonic() - started < 2 * FAREWELL + 1


async def test_a_lease_that_may_not_be_revoked_is_told(
    open_store, rabbit, lease, root, monkeypatch
):
    """It ends by itself; whoever reads the log can add the right."""
    lease(600, 6000)
    policy = 'path "rabbitmq/creds/*" { capabilities = ["read"] }'
    root.sys.create_or_update_policy("no-revocation", policy)
    token = root.auth.token.create(policies=["no-revocation"])["auth"]["client_token"]
    monkeypatch.setenv("VAULT_TOKEN", token)
    store = open_store(engine="dynamic")
    await _user(store)

    with capture_logs() as logs:
        await store.close()

    (told,) = (event for event in logs if event["event"] == "vault.revocation_failed")
    assert ("warning", "rabbitmq/creds/ml") == (told["log_level"], told["of"])
    assert "sys/leases/revoke refused" in told["detail"]
    assert token not in str(told)


async def test_a_secret_is_not_promised_for_longer_than_its_token(
    open_store, new_role, rabbit, lease
):
    lease(600, 6000)
    store = open_store(new_role(token_ttl="30s").login(), engine="dynamic")

    value = await store.read(CREDS)

    assert value.expires_in <= 30


async def test_a_missing_role_is_unavailable_at_once(open_store, rabbit):
    with pytest.raises(CredentialUnavailable):
        await open_store(engine="dynamic").read("rabbitmq/creds/missing")
