"""Secrets in files: regular ones below the root, however the path or a link tries to leave it."""

import os

import pytest

from agent.errors import CredentialUnavailable
from agent.secrets.file import FileSecretStore


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "secrets"
    root.mkdir()
    (tmp_path / "outside").write_text("not-for-us")
    (tmp_path / "secrets-evil").mkdir()
    (tmp_path / "secrets-evil" / "key").write_text("not-for-us")
    return root


@pytest.fixture
def store(root):
    return FileSecretStore(root)


async def _whole(store: FileSecretStore, path: str) -> str:
    return (await store.read(path)).fields[""].reveal()


@pytest.mark.parametrize(
    ("content", "value"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a", " a"), ("", "")]
)
async def test_exactly_one_newline_is_taken_off_the_end(root, store, content, value):
    (root / "key").write_bytes(content.encode())

    assert value == await _whole(store, "key")


async def test_members_of_a_json_object_are_fields(root, store):
    (root / "s3").write_text('{"id": "one", "port": 9000, "none": null, "in": {"a": [1]}}')

    fields = (await store.read("s3")).fields

    values = {name: secret.reveal() for name, secret in fields.items() if name}
    assert {"id": "one", "port": "9000", "in": '{"a":[1]}'} == values


async def test_a_kubernetes_mount_is_followed_and_its_swap_is_seen(root, store):
    for version in ("first", "second"):
        (root / f"..{version}").mkdir()
        (root / f"..{version}" / "key").write_text(version)
    (root / "..data").symlink_to("..first")
    (root / "key").symlink_to("..data/key")
    assert "first" == await _whole(store, "key")

    (root / "..new").symlink_to("..second")
    (root / "..new").rename(root / "..data")

    assert "second" == await _whole(store, "key")


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "../secrets-evil/key",
        "a/../../outside",
        "/etc/hostname",
        "..",
        ".",
        "",
        "a\0b",
    ],
)
async def test_a_path_that_leads_out_is_refused(root, store, path):
    (root / "a").mkdir()

    with pytest.raises(CredentialUnavailable):
        await store.read(path)


@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "link", "/dev/zero", "missing"])
async def test_a_link_that_leads_out_or_nowhere_is_refused(root, store, target):
    (root / "link").symlink_to(target)

    with pytest.raises(CredentialUnavailable):
        await store.read("link")


async def test_a_linked_directory_that_leads_out_is_refused(root, store):
    (root / "dir").symlink_to("../secrets-evil")

    with pytest.raises(CredentialUnavailable):
        await store.read("dir/key")


async def test_a_link_up_and_back_below_the_root_is_followed(root, store):
    (root / "a").mkdir()
    (root / "key").write_text("here")
    (root / "a" / "link").symlink_to("../key")

    assert "here" == await _whole(store, "a/link")


async def test_an_absolute_path_or_link_is_refused_also_where_its_end_exists(root, store):
    (root / "key").write_text("here")
    (root / "link").symlink_to("/key")

    for path in ("/key", "link", str(root / "key")):
        with pytest.raises(CredentialUnavailable) as failure:
            await store.read(path)
        assert "an absolute path" in failure.value.detail


async def test_a_pipe_is_refused_without_waiting_for_a_writer(root, store):
    os.mkfifo(root / "pipe")

    with pytest.raises(CredentialUnavailable) as failure:
        await store.read("pipe")

    assert "not a regular file" in failure.value.detail


async def test_a_directory_is_refused(root, store):
    (root / "dir").mkdir()

    with pytest.raises(CredentialUnavailable):
        await store.read("dir")


async def test_more_than_a_mebibyte_is_refused(root, store):
    (root / "key").write_bytes(b"x" * (1024 * 1024 + 1))

    with pytest.raises(CredentialUnavailable) as failure:
        await store.read("key")

    assert "larger than" in failure.value.detail


async def test_bytes_that_are_no_text_are_refused_without_being_shown(root, store):
    (root / "key").write_bytes(b"hidden\xff")

    with pytest.raises(CredentialUnavailable) as failure:
        await store.read("key")

    assert "hidden" not in failure.value.detail


async def test_no_descriptor_stays_open(root, store):
    (root / "a").mkdir()
    (root / "a" / "key").write_text("here")
    (root / "dir").mkdir()
    before = len(os.listdir("/proc/self/fd"))

    for path in ("a/key", "dir", "a/missing", "../outside"):
        try:
            await store.read(path)
        except CredentialUnavailable:
            continue

    assert before == len(os.listdir("/proc/self/fd"))


async def test_check_fails_when_the_root_is_missing(tmp_path):
    with pytest.raises(CredentialUnavailable):
        await FileSecretStore(tmp_path / "missing").check()
