"""A secret in a file is used until the file changes, and not read again before."""

import os

import pytest

from agent.errors import CredentialUnavailable
from agent.secret_reference import SecretReference
from agent.secrets.file import FileSecretStore
from agent.secrets.resolver import OpenStore, SecretResolver

KEY = SecretReference(store="files", path="key")
NEVER = 1e9


class Counted(FileSecretStore):
    """Knows how often it was read."""

    reads = 0

    async def read(self, path, version=None):
        self.reads += 1
        return await super().read(path, version)


@pytest.fixture
def store(tmp_path):
    """A store on a file system whose clock never stands still."""
    return Counted(tmp_path, tick=0.0)


@pytest.fixture
async def resolver(store):
    opened = {"files": OpenStore(store, "file", NEVER)}
    resolver = SecretResolver(opened, on_secret=lambda _: None, on_use=lambda _: None)
    yield resolver
    await resolver.close()


async def _value(resolver) -> str:
    return (await resolver.resolve(KEY)).reveal()


async def test_an_unchanged_file_is_read_once(tmp_path, store, resolver):
    (tmp_path / "key").write_text("first")

    assert ["first"] * 3 == [await _value(resolver) for _ in range(3)]
    assert 1 == store.reads


async def test_a_swapped_mount_is_seen_at_the_next_use(tmp_path, store, resolver):
    """As Kubernetes swaps it: the file's own link stays, a link above its target is another."""
    for version in ("first", "second"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "key").write_text(version)
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "key").symlink_to("..data/key")
    assert "first" == await _value(resolver)

    (tmp_path / "..new").symlink_to("..second")
    (tmp_path / "..new").rename(tmp_path / "..data")

    assert "second" == await _value(resolver)
    assert 2 == store.reads


async def test_the_same_length_and_time_do_not_hide_a_change(tmp_path, resolver):
    """As a tool leaves them that copies times, too."""
    key = tmp_path / "key"
    key.write_text("first")
    os.utime(key, (1000, 1000))
    assert "first" == await _value(resolver)

    (tmp_path / "new").write_text("other")
    os.utime(tmp_path / "new", (1000, 1000))
    (tmp_path / "new").rename(key)

    assert "other" == await _value(resolver)


async def test_just_after_a_change_a_file_is_read_each_time(tmp_path, resolver, store):
    """Until a second change would leave a trace in its times."""
    store._tick = NEVER
    key = tmp_path / "key"
    key.write_text("first")
    times = key.stat().st_atime_ns, key.stat().st_mtime_ns
    assert "first" == await _value(resolver)

    key.write_text("other")
    os.utime(key, ns=times)

    assert "other" == await _value(resolver)


async def test_a_file_that_is_gone_is_not_used_any_more(tmp_path, resolver):
    (tmp_path / "key").write_text("first")
    await _value(resolver)

    (tmp_path / "key").unlink()

    with pytest.raises(CredentialUnavailable):
        await _value(resolver)


async def test_fields_of_one_file_come_from_one_reading(tmp_path, store, resolver):
    """Also when it changes so often that no value is kept."""
    store._tick = NEVER
    (tmp_path / "key").write_text('{"id": "1", "key": "2"}')
    fields = [KEY.model_copy(update={"field": name}) for name in ("id", "key")]

    await resolver.resolve_together(fields)

    assert 1 == store.reads
