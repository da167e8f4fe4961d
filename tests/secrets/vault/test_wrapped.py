"""A secret id that comes wrapped: unwrapped once, and nobody else may have done it before."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from agent.errors import CredentialUnavailable
from agent.secrets.vault.secret_id import _UNWRAPPED

ALARM = "vault.wrapping_token_not_ours"


@pytest.fixture
def path(vault, request):
    vault.put(request.node.name, "first")
    return f"ml/{request.node.name}"


@pytest.fixture
def auth(vault):
    return vault.auth("approle-wrapped")


def _secret_id(auth) -> str:
    """What the token in the file held."""
    (known,) = (it for (_, file), it in _UNWRAPPED.items() if file == auth["secret_id_file"])
    return known.secret_id.reveal()


async def _value(store, path) -> str:
    return (await store.read(path)).fields["key"].reveal()


async def _log_in_again(vault, store, path) -> str:
    """Read after the token was revoked, so that there is another login."""
    vault.admin.auth.token.revoke(store._session._token.secret.reveal())
    return await _value(store, path)


async def _alarm(store) -> str:
    """Read, which fails loudly; return what it says."""
    with capture_logs() as logs, pytest.raises(CredentialUnavailable) as failure:
        await store.read("ml/any")
    assert [("error", ALARM)] == [
        (event["log_level"], event["event"]) for event in logs if event["event"] == ALARM
    ]
    return failure.value.detail


async def test_it_is_unwrapped_once_and_serves_later_logins(vault, open_vault, path, auth):
    store = open_vault(auth)
    assert "first" == await _value(store, path)

    assert "first" == await _log_in_again(vault, store, path)


async def test_stores_that_share_a_file_unwrap_it_once(open_vault, path, auth):
    """At the same time, and later: as those of the next configuration, when one is reloaded."""
    stores = [open_vault(auth) for _ in range(3)]

    values = await asyncio.gather(*(_value(store, path) for store in stores))
    await stores[0].close()

    assert ["first"] * 4 == [*values, await _value(open_vault(auth), path)]


async def test_the_file_may_be_taken_away_after_the_first_login(vault, open_vault, path, auth):
    store = open_vault(auth)
    await _value(store, path)

    auth["secret_id_file"].unlink()

    assert "first" == await _log_in_again(vault, store, path)


async def test_another_token_in_the_file_brings_another_secret_id(vault, open_vault, path, auth):
    seen = []
    store = open_vault(auth, on_secret=lambda secret: seen.append(secret.reveal()))
    await _value(store, path)
    old = _secret_id(auth)
    vault.admin.auth.approle.destroy_secret_id("ml", old)

    auth["secret_id_file"].write_text(vault.wrapped_secret_id())

    assert "first" == await _log_in_again(vault, store, path)
    new = _secret_id(auth)
    assert {old, new} <= set(seen)


async def test_a_token_that_was_used_before_is_an_alarm(vault, open_vault, auth):
    wrapping = auth["secret_id_file"].read_text().strip()
    vault.admin.adapter.post("/v1/sys/wrapping/unwrap", json={"token": wrapping})

    said = await _alarm(open_vault(auth))

    assert "was used before, or has expired; it may have been intercepted" in said
    assert wrapping not in said


async def test_what_somebody_wrapped_again_is_not_taken(vault, open_vault, auth):
    """Who intercepts a token could cover that up so; Vault tells who made the new one."""
    wrapping = auth["secret_id_file"].read_text().strip()
    answer = vault.admin.adapter.post("/v1/sys/wrapping/unwrap", json={"token": wrapping})
    again = vault.admin.adapter.post("/v1/sys/wrapping/wrap", json=answer["data"], wrap_ttl=600)
    auth["secret_id_file"].write_text(again["wrap_info"]["token"])

    assert "it was made by sys/wrapping/wrap" in await _alarm(open_vault(auth))


async def test_no_secret_of_it_is_in_a_log(vault, open_vault, path, auth):
    wrapping = auth["secret_id_file"].read_text().strip()
    store = open_vault(auth)

    with capture_logs() as logs:
        await _value(store, path)

    secret_id = _secret_id(auth)
    shown = json.dumps(logs, default=str) + repr(vars(store._session._login))
    assert wrapping not in shown
    assert secret_id not in shown
