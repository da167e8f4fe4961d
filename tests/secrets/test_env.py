"""Secrets in the environment: only names with the prefix can be reached."""

import pytest

from agent.errors import CredentialUnavailable
from agent.secrets.env import EnvSecretStore


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setenv("ML_TOKEN", "here")
    monkeypatch.setenv("OTHER", "not-for-us")
    return EnvSecretStore("ML_")


async def test_the_prefix_is_put_before_the_path(store):
    assert "here" == (await store.read("TOKEN")).fields[""].reveal()


@pytest.mark.parametrize("path", ["OTHER", "", "../OTHER", "TOKEN/x", "TOKEN=", "MISSING", "\0"])
async def test_what_has_not_the_prefix_or_is_no_name_is_refused(store, path):
    with pytest.raises(CredentialUnavailable):
        await store.read(path)


async def test_members_of_a_json_object_are_fields(store, monkeypatch):
    monkeypatch.setenv("ML_S3", '{"id": "one"}')

    assert "one" == (await store.read("S3")).fields["id"].reveal()
