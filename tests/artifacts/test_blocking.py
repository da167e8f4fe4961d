"""Whoever leaves a server that has stalled takes no thread of those who stay."""

import asyncio

from aiohttp import web

from agent.artifact_uri import ArtifactUri
from agent.artifacts.blocking import BlockingSource
from agent.artifacts.http.client import Service
from agent.artifacts.http.content import open_content
from agent.artifacts.http.errors import translated
from agent.artifacts.http.store import HttpArtifactStore
from agent.config.settings import Agent
from agent.connectors.http import HttpLogin, NoLogin
from agent.credentials import HttpCredentials
from agent.http_session import HttpSession
from agent.testing.artifact_stores import BLOCK, below, read
from agent.threads import Threads
from tests.doubles.http_service import Answer, http_service

AT_ONCE = 10
"""Seconds; a thread that waits for a server that has stalled does so much longer."""
JOBS = Agent.model_fields["max_concurrent_jobs"].default


async def stall(request: web.BaseRequest) -> web.StreamResponse:
    """Send one block of many, and nothing ever again."""
    response = web.StreamResponse(headers={"Content-Length": str(100 * BLOCK), "ETag": '"a"'})
    await response.prepare(request)
    await response.write(b"x" * BLOCK)
    await asyncio.Event().wait()
    return response


def but_for_ok(stalling: Answer) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"ok") if request.path == "/ok" else await stalling(request)

    return answer


def store_at(url: str) -> HttpArtifactStore:
    login = HttpLogin("none", NoLogin())
    return HttpArtifactStore("trial", ArtifactUri.parse(url), login, block_bytes=lambda: BLOCK)


async def cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_transfer_that_stalls_is_cut_while_no_thread_is_free() -> None:
    threads = Threads("trial", size=1)
    async with http_service(stall) as url:
        with HttpSession() as session:
            service = Service(session, HttpCredentials(None))
            content = await threads.run(lambda: open_content(service, url, None, None))
            source = BlockingSource(
                content, threads, translated,
                size=content.size, etag=content.etag, media_type=None, block_bytes=BLOCK,
            )  # fmt: skip
            await source.read()

            await source.close()

            async with asyncio.timeout(AT_ONCE):
                assert "free" == await threads.run(lambda: "free")
    threads.close()


async def test_as_many_stalled_transfers_as_jobs_leave_the_store_to_others() -> None:
    async with http_service(but_for_ok(stall)) as url:
        store, begun = store_at(url), asyncio.Semaphore(0)

        async def transfer() -> None:
            async with store.open(below(ArtifactUri.parse(url), "stalled")) as artifact:
                async for _ in artifact.blocks():
                    begun.release()

        transfers = [asyncio.create_task(transfer()) for _ in range(JOBS)]
        for _ in transfers:
            await begun.acquire()
        await cancel(transfers)

        async with asyncio.timeout(AT_ONCE):
            assert b"ok" == await read(store, below(ArtifactUri.parse(url), "ok"))
        await store.close()


async def test_as_many_requests_without_an_answer_as_jobs_leave_the_store_to_others() -> None:
    """Nobody can cut a request whose answer has not begun, but it is not in the way."""
    asked = asyncio.Semaphore(0)

    async def never(request: web.BaseRequest) -> web.StreamResponse:
        asked.release()
        await asyncio.Event().wait()
        raise AssertionError

    async with http_service(but_for_ok(never)) as url:
        store = store_at(url)

        async def transfer() -> None:
            await read(store, below(ArtifactUri.parse(url), "stalled"))

        transfers = [asyncio.create_task(transfer()) for _ in range(JOBS)]
        for _ in transfers:
            await asked.acquire()
        await cancel(transfers)

        async with asyncio.timeout(AT_ONCE):
            assert b"ok" == await read(store, below(ArtifactUri.parse(url), "ok"))
        await store.close()
