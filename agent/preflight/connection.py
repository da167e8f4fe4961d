"""Connects to the control plane: TLS and who issued its certificate, and how its clock stands.

It dials as the link does but speaks no WebSocket, so that it can say more about what stands
between.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from cryptography import x509
from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from python_socks.async_.asyncio.v2 import Proxy

from agent.config.control_plane import ControlPlane
from agent.preflight.route import Route, route_to
from agent.preflight.rows import BOUND, Row, Status

WORRYING_SKEW = 30.0
FATAL_SKEW = 300.0
MOST_HEAD_BYTES = 64 * 1024
SOON = timedelta(days=14)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connection_rows(control_plane: ControlPlane, *, seconds: float = BOUND) -> list[Row]:
    """Connect once; say who issued the certificate, and how far the two clocks are apart."""
    route = route_to(control_plane)
    try:
        async with asyncio.timeout(seconds):
            context = tls_context(control_plane) if route.secure else None
            async with _connected(route, context) as (reader, writer):
                peer = _peer_row(route, writer)
                return [peer, await _clock_row(route, reader, writer)]
    except (OSError, ValueError, ProxyError, ProxyTimeoutError) as exc:
        found, advice = await _explained(exc, route, seconds)
    what = "tls" if route.secure else "tcp"
    return [
        Row(Status.FAIL, what, found, advice),
        Row(Status.SKIP, "clock", "not looked at, for want of a connection"),
    ]


class _HungUp(ConnectionError):
    """The peer ended the connection without a word, after the handshake."""


async def _explained(exc: Exception, route: Route, seconds: float) -> tuple[str, str]:
    """Return what was found and what to do."""
    match exc:
        case ssl.SSLCertVerificationError():
            return await _distrust(route, exc, seconds), _DISTRUST_ADVICE
        case ssl.SSLError():
            return f"TLS failed: {exc.reason}", _TLS_ADVICE
        case ProxyError() | ProxyConnectionError() | ProxyTimeoutError():
            return f"the proxy did not connect us: {exc}", _PROXY_ADVICE
        case _HungUp():
            return "the other end hung up without an answer", _HUNG_UP_ADVICE
        case TimeoutError():
            return f"no connection within {seconds:g} s", _SILENT_ADVICE
    return f"no connection: {exc}", _SILENT_ADVICE


_DISTRUST_ADVICE = (
    "if that issuer is a private CA or a TLS-inspecting proxy of your own, put its CA certificate "
    "into a file and name it in control_plane.ca_file; otherwise somebody listens in"
)
_TLS_ADVICE = "something on the way speaks no TLS 1.2 or newer; look at proxies and the URL's port"
_PROXY_ADVICE = (
    "look at control_plane.proxy, its user and password, and what the proxy lets through"
)
_HUNG_UP_ADVICE = (
    "a control plane that misses a client certificate, or does not know ours, does that: look at "
    "control_plane.client_certificate, and at whether something on the way cuts connections"
)
_SILENT_ADVICE = "look at control_plane.url, the firewall, and whether a proxy is needed"


def tls_context(control_plane: ControlPlane) -> ssl.SSLContext:
    """Return the context for what the settings trust and present.

    Raises:
        OSError: A file of it can't be read or is no certificate.
    """
    context = ssl.create_default_context(cafile=control_plane.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if (pair := control_plane.client_certificate) is not None:
        context.load_cert_chain(pair.cert_file, pair.key_file)
    return context


@asynccontextmanager
async def _connected(route: Route, context: ssl.SSLContext | None) -> AsyncIterator[Streams]:
    if route.proxy is None:
        reader, writer = await asyncio.open_connection(route.host, route.port, ssl=context)
    else:
        reader, writer = await _through_proxy(route, context)
    try:
        yield reader, writer
    finally:
        # Aborted, not closed: nobody waits for the peer's goodbye.
        writer.transport.abort()


async def _through_proxy(route: Route, context: ssl.SSLContext | None) -> Streams:
    """Raises ValueError for a proxy of an unknown kind."""
    scheme, _, rest = (route.proxy or "").partition("://")
    known = {"https": "http", "socks5h": "socks5"}.get(scheme, scheme)
    proxy = Proxy.from_url(
        f"{known}://{rest}",
        proxy_ssl=ssl.create_default_context() if scheme == "https" else None,
        rdns=scheme == "socks5h" if known == "socks5" else None,
    )
    stream = await proxy.connect(route.host, route.port, dest_ssl=context)
    return stream.reader, stream.writer


def _peer_row(route: Route, writer: asyncio.StreamWriter) -> Row:
    address = f"{route.host}:{route.port}"
    if not route.secure:
        return Row(Status.PASS, "tcp", f"{address} accepts connections, without TLS")
    certificate = _certificate(writer)
    expiry = certificate.not_valid_after_utc
    found = f"{address} has a certificate issued by {_issuer(certificate)}, good until {expiry:%F}"
    if expiry - datetime.now(UTC) < SOON:
        return Row(Status.WARN, "tls", found, "have the control plane's certificate renewed")
    return Row(Status.PASS, "tls", found)


def _certificate(writer: asyncio.StreamWriter) -> x509.Certificate:
    return x509.load_der_x509_certificate(
        writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    )


def _issuer(certificate: x509.Certificate) -> str:
    return certificate.issuer.rfc4514_string() or "nobody it names"


async def _distrust(route: Route, why: ssl.SSLCertVerificationError, seconds: float) -> str:
    """Connect again to read the certificate that was refused; nothing is sent over that."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reason = f"the certificate is not trusted ({why.verify_message})"
    try:
        async with asyncio.timeout(seconds), _connected(route, context) as (_, writer):
            return f"{reason}; it was issued by {_issuer(_certificate(writer))}"
    except (OSError, ProxyError, ProxyTimeoutError):
        return reason


async def _clock_row(
    route: Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Row:
    started = datetime.now(UTC)
    host = f"[{route.host}]" if ":" in route.host else route.host
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    theirs = await _date(reader)
    if theirs is None:
        return Row(Status.SKIP, "clock", "the control plane does not tell the time")
    return _skew_row(theirs - started - (datetime.now(UTC) - started) / 2)


def _skew_row(skew: timedelta) -> Row:
    seconds = skew.total_seconds()
    found = f"{abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead of'} the control plane's"
    advice = "synchronise this host's clock (NTP): the proof of identity is good for a minute only"
    if abs(seconds) > FATAL_SKEW:
        return Row(Status.FAIL, "clock", found, advice)
    if abs(seconds) > WORRYING_SKEW:
        return Row(Status.WARN, "clock", found, advice)
    return Row(Status.PASS, "clock", found)


async def _date(reader: asyncio.StreamReader) -> datetime | None:
    """Return the Date header of the response, in UTC, if there is a good one.

    Raises:
        _HungUp: There is no response. A TLS 1.3 server that refuses the client's certificate says
            so after the handshake, and asyncio turns its alert into the end of the stream.
    """
    if not await reader.readline():
        raise _HungUp
    left = MOST_HEAD_BYTES
    while left > 0 and (line := (await reader.readline()).strip()):
        left -= len(line)
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "date":
            return _parsed(value.strip())
    return None


def _parsed(date: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(date)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
