"""What every artifact store promises; each test is run against a real server, or real files."""

import asyncio
import os
from pathlib import Path
from typing import Protocol

import pytest
from prometheus_client import REGISTRY

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore, ByteRange, Entry
from agent.artifacts.stores import ArtifactStores
from agent.errors import (
    AccessDenied,
    BadParameters,
    Changed,
    CredentialUnavailable,
    NotFound,
    StoreUnavailable,
    TooLarge,
)
from agent.guard.policy import Decision
from agent.jobs.fetch_artifact import FETCH_ARTIFACT
from agent.jobs.kind import Ticket, Tools
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners

BLOCK = 256 * 1024
"""A store under test should read this much at once."""
DATA = os.urandom(3 * BLOCK + 17)


class Place(Protocol):
    """Something that can be filled, and the store that reads it; each test gets an empty one."""

    @property
    def root(self) -> ArtifactUri:
        """The store's root, at least one segment below its bucket."""

    @property
    def store(self) -> ArtifactStore:
        """The store under test, with credentials that are good."""

    def put(self, path: str, data: bytes) -> ArtifactUri:
        """Store *data* below the root, as text/csv; *path* is taken as it stands."""

    def refused(self) -> ArtifactStore | None:
        """The same place, with credentials that its server refuses; None where it needs none."""

    def unreachable(self) -> ArtifactStore | None:
        """The same place, at an address where nothing answers; None where there is no address."""

    def without_credentials(self) -> ArtifactStore | None:
        """The same place, with a connector that has no credentials; None where it needs none."""


def below(root: ArtifactUri, path: str) -> ArtifactUri:
    """Return the URI of *path* below *root*."""
    return ArtifactUri(root.scheme, root.bucket, (*root.segments, *path.split("/")))


async def read(
    store: ArtifactStore, uri: ArtifactUri, span: ByteRange | None = None, etag: str | None = None
) -> bytes:
    """Return the bytes of *span*."""
    async with store.open(uri, span=span, etag=etag) as artifact:
        return b"".join([block async for block in artifact.blocks()])


async def entries(store: ArtifactStore, uri: ArtifactUri, *, page_size: int) -> list[Entry]:
    """Return all entries of a level, page by page."""
    found: list[Entry] = []
    token: str | None = None
    async with asyncio.timeout(30):
        while True:
            page = await store.list(uri, page_size=page_size, page_token=token)
            assert len(page.entries) <= page_size
            found += page.entries
            token = page.next_token
            if token is None:
                return found


def _bytes_read(store: ArtifactStore) -> float:
    labels = {"store_type": store.type}
    return REGISTRY.get_sample_value("cloud_agent_artifact_bytes_total", labels) or 0.0


class ArtifactStoreContract:
    """Derive from it, with a fixture *place* that yields a `Place`.

    A listing need not know sizes of files where *lists_sizes* is False, nor their times where
    *lists_times* is. What is stored as text/csv comes back as *media_type*.
    """

    lists_sizes = True
    lists_times = True
    media_type = "text/csv"

    async def test_whole(self, place: Place) -> None:
        uri = place.put("model/weights.csv", DATA)

        async with place.store.open(uri) as artifact:
            blocks = [block async for block in artifact.blocks()]

        assert DATA == b"".join(blocks)
        assert (len(DATA), self.media_type) == (artifact.size, artifact.media_type)
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
        before = _bytes_read(place.store)

        await read(place.store, uri)

        assert len(DATA) == _bytes_read(place.store) - before

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

        await asyncio.wait([reading])
        assert DATA == await read(place.store, uri)

    @pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
    async def test_one_level_in_order(self, place: Place, page_size: int) -> None:
        for path in ("a", "b/1", "b/2", "b/c/3", "d", "e/f/g", "h"):
            place.put(f"level/{path}", b"12345")

        listed = await entries(place.store, below(place.root, "level"), page_size=page_size)

        prefix = f"{place.root}/level/"
        size = 5 if self.lists_sizes else None
        assert [("a", "file", size), ("b", "directory", None), ("d", "file", size),
                ("e", "directory", None), ("h", "file", size)] == [
            (str(entry.uri).removeprefix(prefix), entry.kind, entry.size) for entry in listed
        ]  # fmt: skip
        if self.lists_times:
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

    # Failures: each store answers alike.

    async def test_more_than_the_job_allows_is_too_large(
        self, place: Place, tmp_path: Path
    ) -> None:
        """Known before the first byte is read."""
        uri = place.put("x", DATA)
        params = FETCH_ARTIFACT.parameters(uri=str(uri), max_bytes=len(DATA) - 1)
        runs = RunDirectories(tmp_path)
        tools = Tools(
            artifacts=ArtifactStores([(place.root, place.store)]),
            connectors={},
            pipelines=PipelineRunners({}, directories=runs),
            decide=lambda _: Decision(allowed=True, rule=0, why="a test"),
        )

        with pytest.raises(TooLarge):
            async for _ in FETCH_ARTIFACT.run(params, tools, Ticket("j-1")):
                pass

    async def test_a_refused_credential_is_access_denied(self, place: Place) -> None:
        uri = place.put("x", DATA)
        store = place.refused()
        if store is None:
            return

        with pytest.raises(AccessDenied):
            await read(store, uri)
        with pytest.raises(AccessDenied):
            await store.list(place.root, page_size=1, page_token=None)
        with pytest.raises(AccessDenied):
            await store.check()
        await store.close()

    async def test_a_store_that_is_down_is_unavailable(self, place: Place) -> None:
        store = place.unreachable()
        if store is None:
            return

        with pytest.raises(StoreUnavailable):
            await read(store, below(place.root, "x"))
        with pytest.raises(StoreUnavailable):
            await store.list(place.root, page_size=1, page_token=None)
        await store.close()

    async def test_without_credentials_none_is_available(self, place: Place) -> None:
        uri = place.put("x", DATA)
        store = place.without_credentials()
        if store is None:
            return

        with pytest.raises(CredentialUnavailable):
            await read(store, uri)
        await store.close()

    async def test_close_is_idempotent(self, place: Place) -> None:
        await place.store.close()
        await place.store.close()
