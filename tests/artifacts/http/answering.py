"""A store before a server that answers as a test says."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from agent.artifact_uri import ArtifactUri
from agent.artifacts.http.store import HttpArtifactStore
from agent.connectors.http import HttpLogin, NoLogin
from agent.testing.artifact_stores import BLOCK, below
from agent.testing.connectors import GivenConnector
from tests.artifacts.http.places import GOOD
from tests.doubles.http_service import http_service

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(
    answer: Answer | web.Response, *, anonymous: bool = False
) -> AsyncIterator[tuple[HttpArtifactStore, ArtifactUri, list[web.BaseRequest]]]:
    """Yield a store, what to read of it, and the requests that its server has had."""
    requests = []

    async def heard(request: web.BaseRequest) -> web.StreamResponse:
        requests.append(request)
        return _copy(answer) if isinstance(answer, web.Response) else await answer(request)

    async with http_service(heard) as url:
        root = ArtifactUri.parse(f"{url}/store")
        login = HttpLogin("none", NoLogin()) if anonymous else GivenConnector(GOOD)
        store = HttpArtifactStore("trial", root, login, block_bytes=lambda: BLOCK)
        yield store, below(root, "x"), requests
        await store.close()


def _copy(answer: web.Response) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def store_root(uri: ArtifactUri) -> ArtifactUri:
    return ArtifactUri(uri.scheme, uri.bucket, uri.segments[:-1])
