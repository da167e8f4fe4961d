"""A server that answers as a test says, for what no well-behaved one does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ssl import SSLContext

from aiohttp import web

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def http_service(answer: Answer, *, tls: SSLContext | None = None) -> AsyncIterator[str]:
    """Serve on a free port of 127.0.0.1; yield the URL, without a slash at its end."""
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    await runner.cleanup()
