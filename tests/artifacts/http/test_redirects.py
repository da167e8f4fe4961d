"""No redirect and no name leads out of a store's root."""

import socket

import pytest
from aiohttp import web

from agent.artifact_uri import ArtifactUri
from agent.artifacts.http.store import HttpArtifactStore
from agent.errors import NotFound, StoreUnavailable
from agent.testing.artifact_stores import BLOCK, below, read
from agent.testing.connectors import GivenConnector
from tests.artifacts.http.answering import answering, store_root
from tests.artifacts.http.places import GOOD, HttpPlace

METADATA = "http://169.254.169.254/latest/meta-data/"


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every address that this process connects to from now on."""
    found: list[tuple[str, int]] = []

    class Watched(socket.socket):
        def connect(self, address: tuple[str, int]) -> None:
            found.append(address)
            super().connect(address)

    monkeypatch.setattr(socket, "socket", Watched)
    return found


class TestRedirects:
    """None is followed."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("target", [METADATA, "http://127.0.0.1:{other}/x", "/elsewhere"])
    async def test_nobody_else_is_asked(
        self, connected: list[tuple[str, int]], status: int, target: str
    ) -> None:
        """The failure names the origin, and nothing that may be signed."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            other.setblocking(False)
            target = target.format(other=other.getsockname()[1])
            moved = web.Response(status=status, headers={"Location": f"{target}?signature=abc"})
            async with answering(moved) as (store, uri, requests):
                with pytest.raises(StoreUnavailable) as failure:
                    await read(store, uri)

            assert {"/store/x"} == {request.path for request in requests}
            assert {uri.bucket} == {f"{host}:{port}" for host, port in connected}
            with pytest.raises(BlockingIOError):
                other.accept()
        assert f"{status}, a redirect to http://" in failure.value.detail
        assert "signature" not in failure.value.detail

    async def test_a_listing_follows_none_either(self, connected: list[tuple[str, int]]) -> None:
        moved = web.Response(status=302, headers={"Location": METADATA})
        async with answering(moved) as (store, uri, _):
            with pytest.raises(StoreUnavailable):
                await store.list(uri, page_size=1, page_token=None)
            with pytest.raises(StoreUnavailable):
                await store.check()

        assert {uri.bucket} == {f"{host}:{port}" for host, port in connected}

    @pytest.mark.parametrize("location", ["/store/x/", "x/", "http://other.example/store/x/"])
    async def test_to_the_name_with_a_slash_is_a_directory(self, location: str) -> None:
        moved = web.Response(status=301, headers={"Location": location})
        async with answering(moved) as (store, uri, _):
            with pytest.raises(NotFound):
                await read(store, uri)

    @pytest.mark.parametrize("location", ["http://[", "https://{own}/store/x", ""])
    async def test_to_nowhere_or_the_same_name_is_no_directory(self, location: str) -> None:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            there = location.format(own=request.host)
            return web.Response(status=301, headers={"Location": there})

        async with answering(answer) as (store, uri, _):
            with pytest.raises(StoreUnavailable):
                await read(store, uri)


class TestNames:
    """They never lead out of the root."""

    @pytest.mark.parametrize(
        "name", ["%2e%2e/outside", "..%2foutside", "%2e%2e%2foutside", "x%2f..%2f..%2foutside"]
    )
    async def test_encoded_dots_do_not_climb(self, place: HttpPlace, name: str) -> None:
        place.put("x/y", b"")
        (place.directory.parent / "outside").write_bytes(b"secret")

        with pytest.raises(NotFound):
            await read(place.store, below(place.root, name))

    async def test_a_query_is_part_of_a_name(self) -> None:
        async with answering(web.Response(body=b"")) as (store, uri, requests):
            await read(store, below(store_root(uri), "x?admin=1#top"))

        assert "/store/x%3Fadmin%3D1%23top" == requests[0].raw_path

    async def test_a_host_alone_is_no_object(self) -> None:
        async with answering(web.Response(body=b"<html>")) as (_, uri, requests):
            root = ArtifactUri(uri.scheme, uri.bucket, ())
            store = HttpArtifactStore("all", root, GivenConnector(GOOD), block_bytes=lambda: BLOCK)
            with pytest.raises(NotFound):
                await read(store, root)
            await store.close()

        assert [] == requests
