"""Opening one plain connection to where the link goes: same host, proxy, TLS; for a thread."""

import socket
from typing import Any

from websockets.exceptions import InvalidHandshake, InvalidProxy
from websockets.proxy import get_proxy, parse_proxy
from websockets.uri import WebSocketURI, parse_uri

from agent.link.dial import OPEN_TIMEOUT, Endpoint, explained, tls_context


def dial_blocking(endpoint: Endpoint, *, version: str) -> Any:
    """Return a connected socket, or what is as good as one; waits at most about `OPEN_TIMEOUT`.

    Raises:
        DialFailed: There was no answer, or none that could be trusted.
        UsageError: A certificate file of the configuration can't be used.
    """
    where = parse_uri(endpoint.url)
    tls = tls_context(endpoint) if where.secure else None
    try:
        sock = _reached(endpoint, where, version)
        try:
            sock.settimeout(OPEN_TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            return sock if tls is None else _encrypted(sock, tls, where.host)
        except BaseException:
            sock.close()
            raise
    except (OSError, InvalidHandshake, InvalidProxy, EOFError, ValueError) as exc:
        raise explained(exc, endpoint) from None


def _reached(endpoint: Endpoint, where: WebSocketURI, version: str) -> socket.socket:
    url = endpoint.proxy or get_proxy(where)
    if url is None:
        return socket.create_connection((where.host, where.port), timeout=OPEN_TIMEOUT)
    # Few have a proxy, and the module brings a whole client with it.
    from websockets.sync.client import connect_http_proxy, connect_socks_proxy
    from websockets.sync.utils import Deadline

    proxy, deadline = parse_proxy(url), Deadline(OPEN_TIMEOUT)
    if proxy.scheme.startswith("socks"):
        return connect_socks_proxy(proxy, where, deadline)
    return connect_http_proxy(proxy, where, deadline, user_agent_header=f"cloud-agent/{version}")


def _encrypted(sock: socket.socket, tls: Any, host: str) -> Any:
    if not hasattr(sock, "context"):
        return tls.wrap_socket(sock, server_hostname=host)
    # The proxy speaks TLS, and ours goes inside of that.
    from websockets.sync.client import SSLSSLSocket

    return SSLSSLSocket(sock, tls, server_hostname=host)
