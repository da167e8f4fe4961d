"""What every artifact store promises, tried on each of them with real servers and real files."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.artifacts.base import ByteRange
from agent.errors import BadParameters, Changed, NotFound
from agent.telemetry import metrics
from tests.artifacts.places import BLOCK, FilePlace, Place, S3Place, below, entries, read

DATA = os.urandom(3 * BLOCK + 17)


@pytest.fixture(params=["s3", "file"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    place: Place
    if request.param == "s3":
        place = S3Place(request.getfixturevalue("seaweedfs"))
    else:
        place = FilePlace(tmp_path)
    yield place
    await place.store.close()


class TestReading:
    """Bytes come back as they were stored."""

    async def test_whole(self, place: Place) -> None:
        uri = place.put("model/weights.csv", DATA)

        async with place.store.open(uri) as artifact:
            blocks = [block async for block in artifact.blocks()]

        assert DATA == b"".join(blocks)
        assert (len(DATA), "text/csv") == (artifact.size, artifact.media_type)
        assert all(isinstance(block, bytes) and block for block in blocks)

    @pytest.mark.parametrize(
        ("first", "last"),
        [(0, 0), (5, 9), (BLOCK - 1, BLOCK), (7, None), (len(DATA) - 1, None), (10, len(DATA) * 2)],
    )
    async def test_range(self, place: Place, first: int, last: int | None) -> None:
        uri = place.put("x.csv", DATA)

        async with place.store.open(uri, span=ByteRange(first, last)) as artifact:
            data = b"".join([block async for block in artifact.blocks()])

        assert DATA[first : None if last is None else last + 1] == data
        assert len(DATA) == artifact.size

    @pytest.mark.parametrize(
        "span", [ByteRange(len(DATA)), ByteRange(len(DATA) + 5, len(DATA) + 9)]
    )
    async def test_range_behind_the_end(self, place: Place, span: ByteRange) -> None:
        uri = place.put("x.csv", DATA)

        with pytest.raises(BadParameters):
            await read(place.store, uri, span)

    @pytest.mark.parametrize("span", [None, ByteRange(0), ByteRange(0, 9)])
    async def test_empty_object(self, place: Place, span: ByteRange | None) -> None:
        """It has no bytes; asking for those from 0 on is no error."""
        uri = place.put("empty.csv", b"")

        async with place.store.open(uri, span=span) as artifact:
            assert [] == [block async for block in artifact.blocks()]
        assert artifact.size == 0

    async def test_range_behind_the_end_of_an_empty_object(self, place: Place) -> None:
        uri = place.put("empty.csv", b"")

        with pytest.raises(BadParameters):
            await read(place.store, uri, ByteRange(1))

    @pytest.mark.parametrize("path", ["missing", "there/missing", "there/x.csv/below", "there", ""])
    async def test_what_is_no_object_is_not_found(self, place: Place, path: str) -> None:
        """Nothing, something below an object, a directory, the root."""
        place.put("there/x.csv", DATA)

        with pytest.raises(NotFound):
            await read(place.store, below(place.root, path) if path else place.root)

    @pytest.mark.parametrize(
        "name",
        [
            "a b",
            "ü",
            "\U0001f600",
            "p%2Fq",
            "c+d",
            "e#f",
            "g?h",
            "t~",
            "st*r",
            "'\"<>|{}^`&=;,@:$!",
            "..a",
        ],
    )
    async def test_names_are_taken_literally(self, place: Place, name: str) -> None:
        uri = place.put(f"dir/{name}", name.encode())

        assert name.encode() == await read(place.store, uri)
        listed = await entries(place.store, below(place.root, "dir"), page_size=10)
        assert [uri] == [entry.uri for entry in listed]

    async def test_eight_at_once(self, place: Place) -> None:
        uris = [place.put(f"{n}", DATA + bytes([n])) for n in range(8)]

        contents = await asyncio.gather(*(read(place.store, uri) for uri in uris))

        assert [DATA + bytes([n]) for n in range(8)] == contents

    async def test_bytes_are_counted(self, place: Place) -> None:
        uri = place.put("x", DATA)
        counter = metrics.artifact_bytes.labels(place.store.type)
        before = counter._value.get()

        await read(place.store, uri)

        assert len(DATA) == counter._value.get() - before


class TestVersions:
    """An etag names one content."""

    async def test_same_etag_opens(self, place: Place) -> None:
        uri = place.put("x", DATA)
        async with place.store.open(uri) as artifact:
            etag = artifact.etag

        assert DATA[9:] == await read(place.store, uri, ByteRange(9), etag=etag)

    async def test_another_content_is_changed(self, place: Place) -> None:
        uri = place.put("x", DATA)
        async with place.store.open(uri) as artifact:
            etag = artifact.etag
        place.put("x", DATA[::-1])

        with pytest.raises(Changed):
            await read(place.store, uri, ByteRange(9), etag=etag)


class TestLeaving:
    """Who leaves early waits for nothing and breaks nothing."""

    async def test_after_one_block(self, place: Place) -> None:
        uri = place.put("x", DATA)
        async with place.store.open(uri) as artifact:
            blocks = artifact.blocks()
            first = await anext(blocks)

        assert DATA.startswith(first)
        with pytest.raises(ValueError, match="context"):
            await anext(blocks)
        assert DATA == await read(place.store, uri)

    async def test_cancelled_while_it_reads(self, place: Place) -> None:
        uri = place.put("x", DATA)
        reading = asyncio.create_task(read(place.store, uri))
        await asyncio.sleep(0)

        reading.cancel()

        with pytest.raises(asyncio.CancelledError):
            await reading
        assert DATA == await read(place.store, uri)


class TestListing:
    """One level, in order, in pages."""

    @pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
    async def test_one_level_in_order(self, place: Place, page_size: int) -> None:
        for path in ("a", "b/1", "b/2", "b/c/3", "d", "e/f/g", "h"):
            place.put(f"level/{path}", b"12345")

        listed = await entries(place.store, below(place.root, "level"), page_size=page_size)

        prefix = f"{place.root}/level/"
        assert [("a", "file", 5), ("b", "directory", None), ("d", "file", 5),
                ("e", "directory", None), ("h", "file", 5)] == [
            (str(entry.uri).removeprefix(prefix), entry.kind, entry.size) for entry in listed
        ]  # fmt: skip
        assert all((entry.modified is None) == (entry.kind == "directory") for entry in listed)

    async def test_root(self, place: Place) -> None:
        place.put("x/y", b"")
        place.put("z", b"1")

        listed = await entries(place.store, place.root, page_size=10)

        assert [below(place.root, "x"), below(place.root, "z")] == [entry.uri for entry in listed]

    async def test_nothing_there(self, place: Place) -> None:
        place.put("x", b"")

        with pytest.raises(NotFound):
            await place.store.list(below(place.root, "y"), page_size=10, page_token=None)

    async def test_neighbour_with_the_same_beginning_is_not_listed(self, place: Place) -> None:
        place.put("train/x", b"")
        place.put("train-evil/y", b"")

        listed = await entries(place.store, below(place.root, "train"), page_size=10)

        assert [below(place.root, "train/x")] == [entry.uri for entry in listed]

    @pytest.mark.parametrize(
        "token", ["", "?", "Li4=", "YS9i", "Li4v", "Lw==", "gICA", "AAAA", "ü"]
    )
    async def test_foreign_token(self, place: Place, token: str) -> None:
        """Among them the words for '..', 'a/b', '../', '/', bytes that are no text, and NUL."""
        place.put("x", b"")

        with pytest.raises(BadParameters):
            await place.store.list(place.root, page_size=10, page_token=token)

    @pytest.mark.parametrize("page_size", [0, -1, 1001])
    async def test_page_size_has_bounds(self, place: Place, page_size: int) -> None:
        with pytest.raises(BadParameters):
            await place.store.list(place.root, page_size=page_size, page_token=None)


class TestBounds:
    """A store stays below its root, whoever asks."""

    async def test_nothing_outside_the_root(self, place: Place) -> None:
        place.put("x", DATA)
        outside = type(place.root)(
            place.root.scheme, place.root.bucket, (*place.root.segments[:-1], "other")
        )

        with pytest.raises(NotFound):
            await read(place.store, outside)
        with pytest.raises(NotFound):
            await place.store.list(outside, page_size=1, page_token=None)

    async def test_check_reads(self, place: Place) -> None:
        place.put("x", DATA)

        assert "listed" in await place.store.check() or "read" in await place.store.check()
