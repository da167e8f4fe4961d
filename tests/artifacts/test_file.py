"""Attacks on the file store: nothing but regular files below its root is ever read."""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ByteRange
from agent.artifacts.file import FileArtifactStore
from agent.errors import (
    AccessDenied,
    BadParameters,
    Changed,
    JobError,
    NotFound,
    StoreUnavailable,
)
from tests.artifacts.places import BLOCK, FilePlace, below, entries, read
from tests.waiting import until

OUTSIDE = b"what must not be read"
DATA = os.urandom(4 * BLOCK)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[FilePlace]:
    (tmp_path / "store").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(OUTSIDE)
    place = FilePlace(tmp_path / "store")
    yield place
    await place.store.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside"


class TestLinks:
    """A link is no object and no directory, wherever it leads."""

    async def test_link_to_a_file_outside(self, place: FilePlace, outside: Path) -> None:
        (place.directory / "link").symlink_to(outside / "secret")

        with pytest.raises(NotFound):
            await read(place.store, below(place.root, "link"))

    async def test_link_to_a_directory_outside(self, place: FilePlace, outside: Path) -> None:
        (place.directory / "link").symlink_to(outside)

        with pytest.raises(NotFound):
            await read(place.store, below(place.root, "link/secret"))
        with pytest.raises(NotFound):
            await entries(place.store, below(place.root, "link"), page_size=10)

    async def test_link_within_the_store(self, place: FilePlace) -> None:
        place.put("x", b"data")
        (place.directory / "link").symlink_to("x")

        with pytest.raises(NotFound):
            await read(place.store, below(place.root, "link"))

    async def test_link_into_proc(self, place: FilePlace) -> None:
        (place.directory / "self").symlink_to("/proc/self")

        with pytest.raises(NotFound):
            await read(place.store, below(place.root, "self/environ"))

    async def test_component_swapped_for_a_link_in_a_race(
        self, place: FilePlace, outside: Path
    ) -> None:
        """Two names trade places as fast as they can; what is read is ours or nothing."""
        place.put("real/secret", b"ours")
        (place.directory / "link").symlink_to(outside)
        uri = below(place.root, "real/secret")

        with swapping(place.directory / "real", place.directory / "link"):
            results = {await read_or_nothing(place, uri) for _ in range(400)}

        assert results == {b"ours", None}

    async def test_root_may_be_a_link(self, place: FilePlace, tmp_path: Path) -> None:
        """It is the customer's word, not the cloud's."""
        place.put("x", b"data")
        (tmp_path / "alias").symlink_to(place.directory)
        alias = FilePlace(tmp_path / "alias")

        assert await read(alias.store, below(alias.root, "x")) == b"data"


class TestSpecialFiles:
    """Only regular files are objects, and nothing blocks the agent."""

    async def test_fifo_does_not_block(self, place: FilePlace) -> None:
        os.mkfifo(place.directory / "fifo")

        async with asyncio.timeout(2):
            with pytest.raises(NotFound):
                await read(place.store, below(place.root, "fifo"))

    async def test_socket(self, place: FilePlace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(place.directory)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")

            with pytest.raises(NotFound):
                await read(place.store, below(place.root, "socket"))

    @pytest.mark.parametrize("path", ["null", "zero", "tty"])
    async def test_device(self, path: str) -> None:
        store = FileArtifactStore(
            "dev", ArtifactUri.parse("file:///dev"), block_bytes=lambda: BLOCK
        )

        with pytest.raises((NotFound, AccessDenied)):
            await read(store, ArtifactUri.parse(f"file:///dev/{path}"))

    @pytest.mark.parametrize("root", ["file:///proc/self", "file:///proc", "file://"])
    async def test_files_that_the_kernel_makes_up(self, root: str) -> None:
        """Not even where the configuration allows everything: /proc shows our environment."""
        store = FileArtifactStore("proc", ArtifactUri.parse(root), block_bytes=lambda: BLOCK)

        with pytest.raises(NotFound):
            await read(store, ArtifactUri.parse("file:///proc/self/environ"))

    async def test_none_is_listed(self, place: FilePlace, outside: Path) -> None:
        uri = place.put("x", b"data")
        os.mkfifo(place.directory / "fifo")
        (place.directory / "file-link").symlink_to(outside / "secret")
        (place.directory / "directory-link").symlink_to(outside)
        (place.directory / "back\\slash").write_bytes(b"")
        (place.directory / "line\nbreak").write_bytes(b"")
        Path(os.fsdecode(os.fsencode(place.directory) + b"/\xff")).write_bytes(b"")

        assert [uri] == [e.uri for e in await entries(place.store, place.root, page_size=10)]


class TestPaths:
    """A root is compared by whole segments, and nothing climbs out of it."""

    async def test_root_of_the_same_beginning(self, place: FilePlace, tmp_path: Path) -> None:
        (tmp_path / "store-evil").mkdir()
        (tmp_path / "store-evil" / "x").write_bytes(OUTSIDE)

        with pytest.raises(NotFound):
            await read(place.store, ArtifactUri.parse(f"file://{tmp_path}/store-evil/x"))

    @pytest.mark.parametrize(
        "path", [("..", "outside", "secret"), ("../outside/secret",), ("a", "..", "x"), (".", "x")]
    )
    async def test_climbing(self, place: FilePlace, path: tuple[str, ...]) -> None:
        """Even where somebody makes a URI by hand that `ArtifactUri.parse` refuses."""
        place.put("x", DATA)
        place.put("a/x", DATA)
        climbing = ArtifactUri("file", "", (*place.root.segments, *path))

        with pytest.raises(NotFound):
            await read(place.store, climbing)

    async def test_name_too_long(self, place: FilePlace) -> None:
        with pytest.raises(NotFound):
            await read(place.store, below(place.root, "x" * 300))

    async def test_errors_do_not_name_the_path(self, place: FilePlace) -> None:
        with pytest.raises(NotFound) as missing:
            await read(place.store, below(place.root, "missing"))

        assert str(place.directory) not in f"{missing.value} {missing.value.detail}"

    @pytest.mark.parametrize(
        ("number", "error"),
        [
            (errno.EACCES, AccessDenied),
            (errno.EPERM, AccessDenied),
            (errno.ELOOP, NotFound),
            (errno.EIO, StoreUnavailable),
            (errno.ESTALE, StoreUnavailable),
        ],
    )
    async def test_refusals_of_the_system(
        self,
        place: FilePlace,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        error: type[JobError],
    ) -> None:
        uri = place.put("x", b"data")

        def refuse(*_: object, **__: object) -> int:
            raise OSError(number, os.strerror(number), "x")

        monkeypatch.setattr(os, "open", refuse)

        with pytest.raises(error):
            await read(place.store, uri)

    async def test_root_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            await FilePlace(tmp_path / "missing").store.check()


class TestChanges:
    """A file that changes under the reader is never given out as a whole."""

    @pytest.mark.parametrize("change", ["append", "truncate", "overwrite"])
    async def test_while_it_is_read(self, place: FilePlace, change: str) -> None:
        uri = place.put("x", DATA)
        file = place.directory / "x"

        async with place.store.open(uri) as artifact:
            blocks = artifact.blocks()
            await anext(blocks)
            CHANGES[change](file)
            with pytest.raises(Changed):
                await anext(blocks)

    async def test_replaced_by_rename(self, place: FilePlace) -> None:
        """The open file keeps its bytes, but has lost its name, and its ctime shows that."""
        uri = place.put("x", DATA)
        place.put("y", DATA[::-1])

        async with place.store.open(uri) as artifact:
            blocks = artifact.blocks()
            await anext(blocks)
            (place.directory / "y").replace(place.directory / "x")
            with pytest.raises(Changed):
                await anext(blocks)

    async def test_range_of_another_version(self, place: FilePlace) -> None:
        uri = place.put("x", DATA)
        async with place.store.open(uri) as artifact:
            etag = artifact.etag
        os.utime(place.directory / "x", ns=(1, 1))

        with pytest.raises(Changed):
            await read(place.store, uri, ByteRange(5), etag=etag)


class TestDescriptors:
    """None is left open, however a read ends."""

    async def test_after_reads_and_refusals(self, place: FilePlace, outside: Path) -> None:
        uri = place.put("deep/er/x", DATA)
        (place.directory / "link").symlink_to(outside)

        for _ in range(3):
            await read(place.store, uri)
            with pytest.raises(BadParameters):
                await read(place.store, uri, ByteRange(len(DATA)))
            with pytest.raises(NotFound):
                await read(place.store, below(place.root, "link/secret"))
            await entries(place.store, below(place.root, "deep"), page_size=1)

        await until(lambda: not descriptors(place), message="every descriptor being closed")

    async def test_after_cancelling_in_the_middle_of_a_block(
        self, place: FilePlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The thread goes on with its own file, whose number nobody gets meanwhile."""
        uri = place.put("x", DATA)
        reached, go_on = threading.Event(), threading.Event()
        pread = os.pread

        def slow(*arguments: int) -> bytes:
            reached.set()
            assert go_on.wait(10)
            return pread(*arguments)

        monkeypatch.setattr(os, "pread", slow)
        reading = asyncio.create_task(read(place.store, uri))
        await until(reached.is_set)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        assert [str(place.directory / "x")] == descriptors(place)
        go_on.set()
        await until(lambda: not descriptors(place), message="every descriptor being closed")


async def test_hung_file_system_is_noticed(
    place: FilePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = place.put("x", DATA)
    release = threading.Event()
    monkeypatch.setattr("agent.artifacts.file.STALL_SECONDS", 0.1)
    monkeypatch.setattr(os, "pread", lambda *_: release.wait(10))

    with pytest.raises(StoreUnavailable):
        await read(place.store, uri)
    release.set()


async def test_full_directory_is_listed_in_order(place: FilePlace) -> None:
    for number in range(500):
        (place.directory / f"{number:03}").write_bytes(b"")

    listed = await entries(place.store, place.root, page_size=64)

    assert [f"{number:03}" for number in range(500)] == [e.uri.segments[-1] for e in listed]


def overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"something else")
    os.utime(file, ns=(1, 1))


CHANGES = {
    "append": lambda file: file.write_bytes(DATA + b"more"),
    "truncate": lambda file: os.truncate(file, 5),
    "overwrite": overwrite,
}


def descriptors(place: FilePlace) -> list[str]:
    """What this process has open in the place."""
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [target for target in targets if target.startswith(str(place.directory))]


async def read_or_nothing(place: FilePlace, uri: ArtifactUri) -> bytes | None:
    try:
        return await read(place.store, uri)
    except NotFound:
        return None


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Rename *one* and *other* to each other all the time, in a thread."""
    spare, stop = one.with_name("spare"), threading.Event()

    def swap() -> None:
        while not stop.is_set():
            one.rename(spare)
            other.rename(one)
            spare.rename(other)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
