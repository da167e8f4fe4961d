"""Opening one WebSocket: proxy, TLS, identity; and what each failure means to a person.

What is said over the connection belongs to `link` and `enrolment`.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import (
    InvalidHandshake,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from websockets.typing import Subprotocol

from agent.errors import AgentError, LinkRefused, UsageError
from agent.link.connection import LinkConnection
from agent.protocol.close_reasons import LONGEST_RETRY_AFTER, understand
from agent.protocol.codec import MAX_TEXT_BYTES
from agent.protocol.messages import SUBPROTOCOL

OPEN_TIMEOUT = 20.0
CLOSE_TIMEOUT = 1.0
WRITE_LIMIT = 256 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to dial. `repr` shows no proxy password."""

    url: str
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    proxy: str | None = None

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}>"


class DialFailed(AgentError):
    """No connection; *outcome* is a label of the metric, the text says what to look at."""

    def __init__(self, message: str, *, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class _ConnectOnce(connect):
    """Follows no redirect: the proof in the request is for the configured address and no other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def dial(endpoint: Endpoint, headers: Mapping[str, str], *, version: str) -> LinkConnection:
    """Return an open connection; the caller closes it. Waits at most `OPEN_TIMEOUT` seconds.

    Raises:
        LinkRefused: The control plane answered, and said no.
        DialFailed: There was no answer, or none that could be trusted.
        UsageError: A certificate file of the configuration can't be used.
    """
    connecting = _ConnectOnce(
        endpoint.url,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers=dict(headers),
        user_agent_header=f"cloud-agent/{version}",
        compression=None,
        proxy=endpoint.proxy or True,
        ssl=tls_context(endpoint) if endpoint.url.startswith("wss:") else None,
        open_timeout=OPEN_TIMEOUT,
        close_timeout=CLOSE_TIMEOUT,
        ping_interval=None,
        max_size=MAX_TEXT_BYTES,
        write_limit=WRITE_LIMIT,
        create_connection=LinkConnection,
    )
    try:
        connection = await connecting
    except (OSError, InvalidHandshake, InvalidProxy, EOFError, ValueError) as exc:
        raise explained(exc, endpoint) from None
    assert isinstance(connection, LinkConnection)
    if connection.subprotocol != SUBPROTOCOL:
        connection.transport.abort()
        raise DialFailed(
            f"the server at control_plane.url does not speak {SUBPROTOCOL}; is the path right?",
            outcome="protocol",
        )
    return connection


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the context every connection to the control plane uses: TLS 1.2 or newer, names
    checked.

    Raises:
        UsageError: A certificate file can't be read or is no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if endpoint.cert_file is not None:
            context.load_cert_chain(endpoint.cert_file, endpoint.key_file)
    except (OSError, ssl.SSLError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
        raise UsageError(
            f"control_plane: ca_file or client_certificate can't be used ({reason}); "
            "they are PEM files that the agent may read, and the key belongs to the certificate"
        ) from None
    return context


def explained(exc: Exception, endpoint: Endpoint) -> AgentError:
    """Turn what websockets and ssl raise into what a person or the back-off can act on."""
    match exc:
        case InvalidStatus(response=response):
            return _refused(response.status_code, bytes(response.body or b""), response.headers)
        case InvalidProxyStatus(response=response):
            text = _PROXY_STATUS.get(response.status_code, _PROXY_REFUSED)
            return DialFailed(text.format(response.status_code), outcome="proxy")
        case InvalidProxy() | UnicodeDecodeError():
            return DialFailed(_NO_PROXY, outcome="proxy")
        case ProxyError():
            # What SOCKS says is one of a few fixed sentences.
            said = exc.__cause__ if type(exc) is ProxyError else "no answer of an HTTP proxy"
            return DialFailed(f"{_PROXY_FAILED} ({said})", outcome="proxy")
        case ssl.SSLCertVerificationError(verify_message=message):
            return DialFailed(
                f"the certificate at control_plane.url is not trusted: {message}; for a private "
                "CA or a TLS-inspecting proxy set control_plane.ca_file "
                "(cloud-agent check names the issuer)",
                outcome="tls",
            )
        case ssl.SSLError(reason=reason):
            return DialFailed(f"TLS with control_plane.url failed: {reason}", outcome="tls")
        case TimeoutError():
            return DialFailed(f"no answer within {OPEN_TIMEOUT:.0f} s", outcome="timeout")
        case ConnectionResetError() if endpoint.url.startswith("wss:"):
            return DialFailed(_HUNG_UP, outcome="tls")
        case OSError() if endpoint.proxy:
            return DialFailed(f"{_PROXY_FAILED} ({_text(exc)})", outcome="proxy")
        case socket.gaierror() | UnicodeError():
            return DialFailed("the host name in control_plane.url is unknown here", outcome="dns")
        case OSError():
            return DialFailed(f"could not connect: {_text(exc)}", outcome="unreachable")
        case ValueError():
            # Only the port of the proxy is still unchecked here; the error's text shows what
            # stands in its place, which may be the password.
            return DialFailed(_NO_PROXY, outcome="proxy")
        case _ if endpoint.url.startswith("wss:") and isinstance(exc.__cause__, EOFError | OSError):
            return DialFailed(_HUNG_UP, outcome="tls")
    return DialFailed(
        "the server did not answer as a WebSocket server; is the path in control_plane.url right?",
        outcome="protocol",
    )


def _text(exc: OSError) -> str:
    return exc.strerror or str(exc) or type(exc).__name__


_HUNG_UP = (
    "the server closed during the handshake; it may require a client certificate "
    "(control_plane.client_certificate), know no TLS 1.2, or be no WebSocket server with TLS"
)
_NO_PROXY = "the address of the proxy is none; see control_plane.proxy, or HTTPS_PROXY"
_PROXY_FAILED = "no way to the control plane through the proxy; see control_plane.proxy"
_PROXY_LOGIN = "the proxy wants a user and password ({}); put them into control_plane.proxy"
_PROXY_UNREACHABLE = "the proxy could not reach the control plane ({})"
_PROXY_REFUSED = "the proxy answered {}; it may not allow this host and port"
_PROXY_STATUS = {
    401: _PROXY_LOGIN,
    407: _PROXY_LOGIN,
    500: _PROXY_UNREACHABLE,
    502: _PROXY_UNREACHABLE,
    503: _PROXY_UNREACHABLE,
    504: _PROXY_UNREACHABLE,
}


def _refused(status: int, body: bytes, headers: Headers) -> AgentError:
    refusal = understand(body[:4096].decode("utf-8", "replace"), status=status)
    retry_after = _seconds(headers) if refusal.retry_after is None else refusal.retry_after
    reason = refusal.reason if refusal.reason != "unexplained" else f"http_{status}"
    return LinkRefused(reason, final=refusal.final, retry_after=retry_after)


def _seconds(headers: Headers) -> float | None:
    """Return what Retry-After names in seconds, if it does so once; dates are not understood."""
    match headers.get_all("Retry-After"):
        case [value] if value.isdecimal() and len(value) < 6:
            return min(float(value), LONGEST_RETRY_AFTER)
    return None


async def hang_up(connection: LinkConnection, *, code: int = 1000, reason: str = "") -> None:
    """Close politely, waiting at most `CLOSE_TIMEOUT`; then cut. Idempotent."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await connection.close(code, reason)
    except TimeoutError:
        connection.transport.abort()
