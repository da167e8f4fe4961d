"""KV of both versions is told apart, and a path never leads elsewhere."""

import pytest

from agent.errors import CredentialUnavailable


async def test_check_tells_the_version_it_found(open_store, root):
    root.sys.enable_secrets_engine("kv", "old/kv", options={"version": "1"})

    assert "engine of version 2" in await open_store().check()
    assert "engine of version 1" in await open_store(mount="old/kv").check()


async def test_without_any_right_version_two_is_assumed(open_store, root, secret, monkeypatch):
    """A token that may do nothing below the mount is not told; the refusal is that of the path."""
    token = root.auth.token.create(policies=["default"])["auth"]["client_token"]
    monkeypatch.setenv("VAULT_TOKEN", token)

    with pytest.raises(CredentialUnavailable) as failure:
        await open_store().read(secret)

    assert "/v1/secret/data/ml/" in failure.value.detail


async def test_another_engine_says_how_it_is_read(open_store, root):
    root.sys.enable_secrets_engine("transit", "transit")

    with pytest.raises(CredentialUnavailable) as failure:
        await open_store(mount="transit").read("x")

    assert "engine: dynamic" in failure.value.detail


async def test_a_deleted_version_is_missing(open_store, root, secret):
    root.secrets.kv.v2.delete_latest_version_of_secret(secret)

    with pytest.raises(CredentialUnavailable) as failure:
        await open_store().read(secret)

    assert "there is nothing at" in failure.value.detail


@pytest.mark.parametrize("path", ["../../sys/mounts", "ml//x", "ml/./x", "", "."])
async def test_a_path_with_dots_or_gaps_is_refused(open_store, path):
    with pytest.raises(CredentialUnavailable) as failure:
        await open_store().read(path)

    assert "is not a path" in failure.value.detail


async def test_characters_of_urls_stand_for_themselves(open_store, root):
    root.adapter.post("/v1/secret/data/odd%3Fversion=9%25", json={"data": {"key": "odd"}})

    assert "odd" == (await open_store().read("odd?version=9%")).fields["key"].reveal()


async def test_a_namespace_is_a_world_of_its_own(open_store, openbao, root, monkeypatch):
    root.adapter.post("/v1/sys/namespaces/team")
    inside = openbao.client(namespace="team")
    inside.sys.enable_secrets_engine("kv", "secret", options={"version": "1"})
    inside.secrets.kv.v1.create_or_update_secret("x", {"key": "inside"}, mount_point="secret")
    inside.adapter.close()

    value = await open_store(namespace="team").read("x")

    assert "inside" == value.fields["key"].reveal()


@pytest.mark.parametrize("version", ["0", "latest", "-1", "1.0"])
async def test_a_version_is_a_number_from_one(open_store, secret, version):
    with pytest.raises(CredentialUnavailable) as failure:
        await open_store().read(secret, version)

    assert "is no version; Vault counts 1, 2, 3" in failure.value.detail


async def test_a_destroyed_version_is_missing_while_another_stays(open_store, root, secret):
    root.secrets.kv.v2.create_or_update_secret(secret, {"key": "second"})
    root.secrets.kv.v2.destroy_secret_versions(secret, versions=[1])
    store = open_store()

    with pytest.raises(CredentialUnavailable) as failure:
        await store.read(secret, "1")

    assert "there is nothing at" in failure.value.detail
    assert "second" == (await store.read(secret, "2")).fields["key"].reveal()
