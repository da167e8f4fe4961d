"""Speaks the REST interface of a control plane; prints nothing and knows no command line."""

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from agent.errors import AgentError, ProtocolError, Unreachable, UsageError
from control_plane_stub.client.events import Event, EventDecoder

API = "/api/v1"
CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 30.0
SILENCE_TIMEOUT = 60.0
"""A stream that is silent for so long is opened again; nothing is lost by that."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the control plane is, and what opens it."""

    url: str
    token: str = field(repr=False)
    ca_file: Path | None = None


class Rejected(AgentError):
    """The control plane answered, and said no; *status* is that of HTTP."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message or reason)
        self.status = status
        self.reason = reason


class Interrupted(AgentError):
    """A stream ended before its end; asking for the rest is worth a try."""


class Client:
    """One HTTP session with one control plane. Any number of tasks may use it at once.

    Every method waits for the answer, and raises `Unreachable` when none comes, `Rejected` when it
    is a refusal. Redirects are not followed: the token goes to the named server only.
    """

    def __init__(self, endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
        self._endpoint = endpoint
        self._session = session

    async def get(self, path: str, **query: str | int | None) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        return await self._answer("GET", path, params=given)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        return await self._answer("POST", path, json=body)

    async def delete(self, path: str) -> Any:
        return await self._answer("DELETE", path)

    async def events(self, path: str, *, last_id: str | None = None) -> AsyncGenerator[Event]:
        """Yield events as they happen, after the one with *last_id*, until the server ends them.

        Raises:
            Interrupted: The connection broke, or was silent for too long.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        decoder = EventDecoder()
        async with self.stream(path, headers=headers) as response:
            async for block in response.content.iter_any():
                for event in decoder.feed(block):
                    yield event

    @asynccontextmanager
    async def stream(
        self, path: str, *, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open an answer without an end in time.

        Raises:
            Interrupted: The connection broke, or was silent for too long, while it was read.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT, sock_read=SILENCE_TIMEOUT
        )
        with _translated(self._endpoint, reading=True):
            async with self._session.get(
                self._endpoint.url + API + path,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                await _require_success(response)
                yield response

    async def _answer(self, method: str, path: str, **how: Any) -> Any:
        with _translated(self._endpoint, reading=False):
            async with self._session.request(
                method, self._endpoint.url + API + path, allow_redirects=False, **how
            ) as response:
                await _require_success(response)
                return _decoded(await response.read())


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Client]:
    """Give a client of *endpoint* for the time of the block; connects when first asked.

    Raises:
        UsageError: The CA file can't be read, or the URL is not one of HTTP.
    """
    if not endpoint.url.startswith(("http://", "https://")):
        raise UsageError(f"--server {endpoint.url!r} does not start with http:// or https://")
    session = aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {endpoint.token}"},
        timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT, sock_connect=CONNECT_TIMEOUT),
        connector=aiohttp.TCPConnector(ssl=_trust(endpoint.ca_file)),
    )
    async with session:
        yield Client(endpoint, session)


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        reason = error.strerror or "it holds no certificate in PEM form"
        raise UsageError(f"--ca-file {ca_file}: {reason}") from None


@contextmanager
def _translated(endpoint: Endpoint, *, reading: bool) -> Iterator[None]:
    """Turn the HTTP library's errors into ours, in one place."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise Unreachable(
            f"{endpoint.url}: the server's certificate is not trusted "
            f"({error.certificate_error}); name its issuer with --ca-file"
        ) from None
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise Unreachable(
            f"no control plane answers at {endpoint.url} ({error}); "
            "is it running, and is --server right?"
        ) from None
    except (aiohttp.ClientError, TimeoutError) as error:
        kind = Interrupted if reading else Unreachable
        raise kind(f"{endpoint.url} broke off ({type(error).__name__})") from None


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError:
        raise ProtocolError("the server's answer is not JSON; is --server right?") from None


async def _require_success(response: aiohttp.ClientResponse) -> None:
    if response.status < 300:
        return
    if response.status == 401:
        raise UsageError(
            "the control plane does not know this API token; "
            "--api-token-file names the file that `serve` reads or wrote"
        )
    error = await _error_of(response)
    raise Rejected(
        response.status,
        str(error.get("reason", f"http_{response.status}")),
        str(error.get("message", f"the server answered with HTTP status {response.status}")),
    )


async def _error_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    if response.content_type != "application/json":
        return {}
    body = _decoded(await response.read())
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}
