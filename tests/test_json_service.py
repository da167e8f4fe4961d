"""What a question to a JSON service comes to when the service fails in the middle of an answer."""

import asyncio

import pytest
from aiohttp import web

from agent.errors import StoreUnavailable
from agent.http_session import HttpSession
from agent.json_service import ask_json
from tests.doubles.http_service import http_service


async def test_an_answer_that_breaks_off_is_unavailable() -> None:
    async def break_off(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b'{"a":')
        request.transport.close()
        return response

    async with http_service(break_off) as url:
        with HttpSession() as session, pytest.raises(StoreUnavailable) as failure:
            await asyncio.to_thread(ask_json, session, "GET", url)

    assert "no answer: ProtocolError" == failure.value.detail


async def test_a_wrong_encoding_is_unavailable() -> None:
    answer = web.Response(body=b"not gzip", headers={"Content-Encoding": "gzip"})

    async def encoded(request: web.BaseRequest) -> web.StreamResponse:
        return answer

    async with http_service(encoded) as url:
        with HttpSession() as session, pytest.raises(StoreUnavailable):
            await asyncio.to_thread(ask_json, session, "GET", url)
