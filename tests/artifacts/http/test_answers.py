"""What servers answer, and what the store makes of it."""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from agent.artifacts.base import ByteRange
from agent.artifacts.http.store import MOST_INDEX_BYTES
from agent.artifacts.paging import Position
from agent.errors import (
    AccessDenied,
    BadParameters,
    Changed,
    JobError,
    NotFound,
    StoreUnavailable,
    Unsupported,
)
from agent.testing.artifact_stores import read
from tests.artifacts.http.answering import answering


def aged(seconds: float) -> dict[str, str]:
    now = datetime.now(UTC)
    modified = format_datetime(now - timedelta(seconds=seconds), usegmt=True)
    return {"Last-Modified": modified, "Date": format_datetime(now, usegmt=True)}


class TestVersions:
    """An etag names one content, or there is none."""

    @pytest.mark.parametrize(
        ("headers", "named"),
        [
            ({"ETag": '"abc"'}, True),
            ({"ETag": 'W/"abc"'}, False),
            ({"ETag": "abc"}, False),
            ({"ETag": f'"{"a" * 600}"'}, False),
            (aged(60), True),
            (aged(60) | {"ETag": 'W/"abc"'}, True),
            (aged(0), False),
            ({"Last-Modified": "yesterday"}, False),
            ({}, False),
        ],
    )
    async def test_what_names_a_version(self, headers: dict[str, str], *, named: bool) -> None:
        async with answering(web.Response(body=b"data", headers=headers)) as (store, uri, _):
            async with store.open(uri) as artifact:
                etag = artifact.etag
            if named:
                assert b"data" == await read(store, uri, etag=etag)
            else:
                assert etag == ""
                with pytest.raises(Changed):
                    await read(store, uri, etag=etag)

    @pytest.mark.parametrize("etag", ["", '"b"', '"\r\nX: 1"', '"ü"', "\ud800"])
    async def test_a_foreign_etag_is_changed(self, etag: str) -> None:
        """Whatever the control plane makes of it, and also where the server minds no If-Match."""
        answer = web.Response(body=b"data", headers={"ETag": '"a"'})
        async with answering(answer) as (store, uri, _):
            with pytest.raises(Changed):
                await read(store, uri, etag=etag)


class TestAnswers:
    """What a server may say, and what it means."""

    @pytest.mark.parametrize(
        ("status", "error", "tries"),
        [
            (204, StoreUnavailable, 3),
            (206, StoreUnavailable, 3),
            (304, StoreUnavailable, 3),
            (400, StoreUnavailable, 3),
            (401, AccessDenied, 2),
            (403, AccessDenied, 2),
            (404, NotFound, 1),
            (410, NotFound, 1),
            (412, Changed, 1),
            (416, BadParameters, 1),
            (429, StoreUnavailable, 3),
            (500, StoreUnavailable, 3),
            (503, StoreUnavailable, 3),
        ],
    )
    async def test_statuses(self, status: int, error: type[JobError], tries: int) -> None:
        async with answering(web.Response(status=status)) as (store, uri, requests):
            with pytest.raises(error):
                await read(store, uri)

        assert tries == len(requests)

    async def test_a_size_that_is_not_said(self) -> None:
        async def chunked(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            await response.write(b"data")
            return response

        async with answering(chunked) as (store, uri, _):
            with pytest.raises(Unsupported, match="how large"):
                await read(store, uri)

    async def test_an_encoded_body(self) -> None:
        """A range of it would not be one of the artifact, and it might unpack to anything."""
        answer = web.Response(body=b"data", headers={"Content-Encoding": "gzip"})
        async with answering(answer) as (store, uri, requests):
            with pytest.raises(Unsupported, match="encodes"):
                await read(store, uri)
            with pytest.raises(Unsupported, match="encodes"):
                await store.list(uri, page_size=1, page_token=None)

        assert {"identity"} == {request.headers["Accept-Encoding"] for request in requests}

    @pytest.mark.parametrize(
        "content_range",
        ["bytes 0-4/100", "bytes 5-9/*", "bytes 5-9/7", "bytes 5-9", "items 5-9/100", ""],
    )
    async def test_another_range_than_asked_for(self, content_range: str) -> None:
        answer = web.Response(status=206, body=b"12345", headers={"Content-Range": content_range})
        async with answering(answer) as (store, uri, _):
            with pytest.raises(StoreUnavailable):
                await read(store, uri, ByteRange(5, 9))

    async def test_more_than_asked_for_is_not_read(self) -> None:
        answer = web.Response(
            status=206, body=b"1234567890", headers={"Content-Range": "bytes 5-14/100"}
        )
        async with answering(answer) as (store, uri, _):
            assert b"12345" == await read(store, uri, ByteRange(5, 9))


class TestListing:
    """Where a server has none, that is said."""

    @pytest.mark.parametrize(
        "answer",
        [
            web.Response(status=200, text="hello", content_type="text/plain"),
            web.json_response({"files": []}),
            web.json_response(["x"]),
            web.json_response([{"name": 7}]),
            web.Response(text="[" * 100_000, content_type="application/json"),
            web.Response(body=b" " * (MOST_INDEX_BYTES + 1), content_type="text/html"),
        ],
        ids=["text", "object", "strings", "numbers", "deep", "large"],
    )
    async def test_what_is_no_index(self, answer: web.Response) -> None:
        async with answering(answer) as (store, uri, _):
            with pytest.raises(Unsupported):
                await store.list(uri, page_size=1, page_token=None)
            assert "does not list" in await store.check()

    async def test_the_loop_does_not_sort_an_index(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would stand still for the time that this takes."""
        threads = []

        class Noted(Position):
            @property
            def order(self) -> str:
                threads.append(threading.current_thread())
                return super().order

        monkeypatch.setattr("agent.artifacts.http.index.Position", Noted)
        page = web.Response(text="<a href=a><a href=b><a href=c>", content_type="text/html")
        async with answering(page) as (store, uri, _):
            listed = await store.list(uri, page_size=2, page_token=None)

        assert len(listed.entries) == 2
        assert threads
        assert threading.main_thread() not in threads

    async def test_a_forbidden_index_is_none_where_nobody_logs_in(self) -> None:
        async with answering(web.Response(status=403), anonymous=True) as (store, uri, _):
            with pytest.raises(Unsupported, match="does not list"):
                await store.list(uri, page_size=1, page_token=None)
            assert "does not list" in await store.check()

    async def test_a_root_that_is_not_found_is_said(self) -> None:
        async with answering(web.Response(status=404)) as (store, _, _):
            assert "404 for the root" in await store.check()
