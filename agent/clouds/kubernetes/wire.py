"""Requests to a cluster's API by path, answered by plain objects or by a stream.

For what is asked often, or read as it grows; no result is kept here.
"""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from agent.clouds.base import Login
from agent.clouds.kubernetes.client import client_for
from agent.credentials import KubernetesCredentials
from agent.errors import AccessDenied, StoreUnavailable

_CONNECT_TIMEOUT = 5.0
_READ_TIMEOUT = 15.0
_SILENT = "the cluster did not answer"

Object = dict[str, Any]
Query = Mapping[str, str]


class Refused(Exception):
    """The cluster's answer is an error; *message* may quote what was sent, and is not for all."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class Wire:
    """Asks one cluster with the credentials of a login. Safe for concurrent calls.

    All methods raise `Refused` for an answer that is an error, StoreUnavailable when there is no
    answer, AccessDenied for credentials that the cluster does not know, also when they are issued
    anew, and CredentialUnavailable when there are none. Nothing is tried again.
    """

    def __init__(self, login: Login[KubernetesCredentials]) -> None:
        self._login = login

    async def namespace(self) -> str:
        """Return the one that the login stands in."""
        return (await self._login.credentials()).namespace or "default"

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Object:
        """Send one request and return the object that is answered."""
        try:
            async with self._answer(method, path, query, body, _READ_TIMEOUT) as response:
                answer = await response.json(content_type=None)
        except TimeoutError:
            detail = f"no answer to {method} {path} within {_READ_TIMEOUT:.0f} s"
            raise StoreUnavailable(_SILENT, detail=detail) from None
        return answer if isinstance(answer, dict) else {}

    async def pieces(self, path: str, *, query: Query, idle: float) -> AsyncGenerator[bytes]:
        """Yield the answer's content as it arrives; to be closed by whoever leaves early.

        Raises TimeoutError when nothing arrived for *idle* seconds.
        """
        async with self._answer("GET", path, query, None, idle) as response:
            async for piece in response.content.iter_any():
                yield piece

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, Any] | None,
        patience: float,
    ) -> AsyncGenerator[Any]:
        """Lend a good answer; log in anew, once, when the credentials are refused."""
        # Loading it takes most of a second, during which the loop has other things to do.
        await asyncio.to_thread(importlib.import_module, "kubernetes_asyncio.client")
        from aiohttp import ClientTimeout

        for last in (False, True):
            credentials = await self._login.credentials()
            with translated(credentials.server):
                async with client_for(credentials) as client:
                    timeout = ClientTimeout(sock_connect=_CONNECT_TIMEOUT, sock_read=patience)
                    response = await client.call_api(
                        path,
                        method,
                        query_params=list((query or {}).items()),
                        header_params={"Accept": "application/json, */*"},
                        body=body,
                        auth_settings=["BearerToken"],
                        _preload_content=False,
                        _request_timeout=timeout,
                    )
                    try:
                        if response.status == 401 and not last:
                            self._login.invalidate(credentials)
                            continue
                        await _require_success(response, credentials.server)
                        yield response
                        return
                    finally:
                        # First the connection, at once: a goodbye by TLS would wait for the other
                        # side, which may be in the middle of a stream.
                        await client.close()
                        response.close()


async def _require_success(response: Any, server: str) -> None:
    if response.status < 300:
        return
    text = await response.text(errors="replace")
    if response.status == 401:
        raise AccessDenied(
            "the cluster refused the agent's credential", detail=f"{server} answered 401"
        )
    status = await _status_of(response)
    raise Refused(
        response.status, str(status.get("reason", "")), str(status.get("message", text))[:2000]
    )


async def _status_of(response: Any) -> Object:
    try:
        status = await response.json(content_type=None)
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Turn errors of the connection into ours. A timeout of a read stays a TimeoutError."""
    from aiohttp import (
        ClientConnectorCertificateError,
        ClientError,
        ConnectionTimeoutError,
        SocketTimeoutError,
    )

    try:
        yield
    except ConnectionTimeoutError:
        raise StoreUnavailable(
            _SILENT, detail=f"{server} could not be connected to in time"
        ) from None
    except SocketTimeoutError:
        raise TimeoutError from None
    except ClientConnectorCertificateError:
        detail = f"the certificate of {server} is not trusted; name its CA"
        raise StoreUnavailable(_SILENT, detail=detail) from None
    except TimeoutError:
        raise
    except (ClientError, OSError) as error:
        cause = getattr(error, "os_error", error)
        why = getattr(cause, "strerror", None) or type(cause).__name__
        raise StoreUnavailable(_SILENT, detail=f"{server} did not answer: {why}") from None
