"""One login for many, renewed in time, replaced when it is over, with what files hold now."""

import asyncio
import os

import pytest
from structlog.testing import capture_logs

from agent.config.secret_stores import VaultSecretStore
from agent.errors import CredentialUnavailable
from agent.secret_reference import SecretReference
from agent.secrets.open import open_secret_stores
from agent.secrets.vault.token import TokenLogin
from tests.waiting import until


class Counted:
    """A login that counts how often it is asked, and remembers its tokens."""

    def __init__(self, login) -> None:
        self._login = login
        self.name = login.name
        self.tokens = []

    async def log_in(self, server):
        token = await self._login.log_in(server)
        self.tokens.append(token)
        return token

    def ttl(self, root) -> int:
        return root.auth.token.lookup(self.tokens[-1].secret.reveal())["data"]["ttl"]


async def _value(store, path) -> str:
    return (await store.read(path)).fields["key"].reveal()


async def test_many_concurrent_readers_cause_one_login(open_store, new_role, secret):
    login = Counted(new_role().login())
    store = open_store(login)

    values = await asyncio.gather(*(_value(store, secret) for _ in range(50)))

    assert (["first"] * 50, 1) == (values, len(login.tokens))


async def test_a_token_is_renewed_before_it_expires(open_store, new_role, root, secret):
    """It outlives its time to live of two seconds without another login."""
    login = Counted(new_role(token_ttl="2s", token_max_ttl="1h").login())
    store = open_store(login)
    await _value(store, secret)
    (token,) = login.tokens
    first_end = token.lease.expires_at

    await until(lambda: token.lease.expires_at > first_end + 2.0)

    assert "first" == await _value(store, secret)
    assert 1 == len(login.tokens)
    assert login.ttl(root) <= 2


async def test_at_its_maximum_a_token_is_replaced(open_store, new_role, secret):
    login = Counted(new_role(token_ttl="2s", token_max_ttl="3s").login())
    store = open_store(login)
    await _value(store, secret)

    await until(lambda: len(login.tokens) > 1)

    assert login.tokens[0].lease.remaining() > 0
    assert "first" == await _value(store, secret)


async def test_a_token_that_expired_while_the_host_slept_is_replaced(open_store, new_role, secret):
    """Then our clock stood still, and it is Vault that says so."""
    login = Counted(new_role(token_ttl="1s", token_max_ttl="1s").login())
    store = open_store(login)
    await _value(store, secret)
    store._session._keeper.cancel()
    (token,) = login.tokens
    await until(lambda: token.lease.remaining() < 0)

    token.lease.extend(60)

    assert "first" == await _value(store, secret)
    assert 2 == len(login.tokens)


async def test_a_batch_token_is_replaced_since_it_cannot_be_renewed(open_store, new_role, secret):
    login = Counted(new_role(token_ttl="2s", token_type="batch").login())
    store = open_store(login)
    await _value(store, secret)

    await until(lambda: len(login.tokens) > 1)

    assert login.tokens[0].lease.remaining() > 0


async def test_a_revoked_token_is_replaced_at_the_next_reading(open_store, new_role, root, secret):
    login = Counted(new_role().login())
    store = open_store(login)
    await _value(store, secret)

    root.auth.token.revoke(login.tokens[0].secret.reveal())

    assert "first" == await _value(store, secret)
    assert 2 == len(login.tokens)


async def test_a_refusal_by_policy_is_final_and_causes_no_login(open_store, new_role, root):
    root.secrets.kv.v2.create_or_update_secret("payroll", {"key": "not-for-us"})
    login = Counted(new_role().login())
    store = open_store(login, engine="kv2")

    with pytest.raises(CredentialUnavailable) as failure:
        await store.read("payroll")

    assert "permission denied" in failure.value.detail
    assert 1 == len(login.tokens)


async def test_a_rotated_secret_id_is_used_at_the_next_login(open_store, new_role, root, secret):
    role = new_role()
    login = Counted(role.login())
    store = open_store(login)
    await _value(store, secret)
    old = role.secret_id_file.read_text()
    new = root.auth.approle.generate_secret_id(role.name)["data"]["secret_id"]
    role.secret_id_file.write_text(new + "\n")

    root.auth.approle.destroy_secret_id(role.name, old)
    root.auth.token.revoke(login.tokens[0].secret.reveal())

    assert "first" == await _value(store, secret)


async def test_a_wrong_secret_id_fails_at_once_and_is_not_shown(open_store, new_role, secret):
    role = new_role()
    role.secret_id_file.write_text("0-wrong-secret-id")

    with pytest.raises(CredentialUnavailable) as failure:
        await open_store(role.login()).read(secret)

    assert "auth/approle/login refused" in failure.value.detail
    assert "0-wrong-secret-id" not in failure.value.detail


async def test_a_token_file_is_read_again_when_the_token_was_revoked(
    open_store, root, secret, tmp_path
):
    def token() -> str:
        return root.auth.token.create(policies=["ml"])["auth"]["client_token"]

    file = tmp_path / "token"
    file.write_text(token())
    store = open_store(TokenLogin(file))
    await _value(store, secret)
    old = file.read_text()

    file.write_text(token())
    root.auth.token.revoke(old)

    assert "first" == await _value(store, secret)


async def test_a_token_that_is_not_valid_says_where_to_put_a_new_one(open_store, secret, tmp_path):
    file = tmp_path / "token"
    file.write_text("s.not-valid")

    with pytest.raises(CredentialUnavailable) as failure:
        await open_store(TokenLogin(file)).read(secret)

    assert f"put a new one into {file}" in failure.value.detail
    assert "s.not-valid" not in failure.value.detail


async def test_no_token_at_all_says_what_to_set(open_store, secret, monkeypatch):
    monkeypatch.delenv("VAULT_TOKEN")
    assert "VAULT_TOKEN" not in os.environ

    with pytest.raises(CredentialUnavailable) as failure:
        await open_store().read(secret)

    assert "token_file or VAULT_TOKEN" in failure.value.detail


async def test_every_token_is_told_to_the_redactor(open_store, new_role, secret):
    seen = []
    login = Counted(new_role().login())

    await _value(open_store(login, on_secret=seen.append), secret)

    assert [token.secret for token in login.tokens] == seen


async def test_close_revokes_the_token_that_was_issued_to_us(open_store, new_role, root, secret):
    login = Counted(new_role().login())
    store = open_store(login)
    await _value(store, secret)

    await store.close()

    from hvac.exceptions import Forbidden, InvalidPath

    with pytest.raises((Forbidden, InvalidPath)):
        login.ttl(root)


async def test_a_configured_approle_logs_in_with_its_files(new_role, openbao, secret, tmp_path):
    role = new_role()
    role_id_file = tmp_path / "role-id"
    role_id_file.write_text(role.role_id + "\n")
    auth = {
        "method": "approle",
        "role_id_file": role_id_file,
        "secret_id_file": role.secret_id_file,
    }
    vault = VaultSecretStore(type="vault", address=openbao.address, auth=auth)
    resolver = open_secret_stores({"vault": vault}, on_secret=lambda _: None)

    value = await resolver.resolve(SecretReference(store="vault", path=secret, field="key"))

    assert "first" == value.reveal()
    await resolver.close()


async def test_a_batch_token_is_left_to_expire_since_it_cannot_be_revoked(
    open_store, new_role, secret
):
    store = open_store(new_role(token_type="batch").login())
    await _value(store, secret)

    with capture_logs() as logs:
        await store.close()

    assert [] == logs
