"""The only way out for obstore, which connects below Python and follows redirects.

obstore is given this gate as its proxy. The gate lets it reach one host, at an address that is no
metadata service, whatever a redirect or a name that resolves anew says. It reads no content: bytes
are spliced in the kernel. What obstore asks for is not known here.
"""

import base64
import fcntl
import os
import secrets
import select
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agent.egress import is_loopback, is_metadata
from agent.telemetry.logs import get_logger

_HEAD_LIMIT = 64 * 1024
_DIAL_SECONDS = 5.0
_HEAD_SECONDS = 10.0
_SPLICED_AT_ONCE = 256 * 1024

log = get_logger()

Address = tuple[str, int]


def way_out(url: str) -> str | None:
    """Return the proxy that obstore is to reach *url* by; None where it needs no gate.

    That is on this very host, which is trusted, and where the environment names a proxy of the
    customer's: then that decides.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or (parts.scheme in getproxies() and not proxy_bypass(host)):
        return None
    return _gate(host, parts.port or {"http": 80}.get(parts.scheme, 443)).url


@cache
def _gate(host: str, port: int) -> "EgressGate":
    """One for each host, as long as the process lives: end points are few."""
    return EgressGate(host, port)


class Refused(Exception):
    """What was asked for does not pass."""


class EgressGate:
    """Forwards to *host* and *port*, and nowhere else, for whoever knows its `url`.

    It listens on a loopback address with a password of its own, and has a thread for each
    connection. *refuses* says which addresses are not connected to; the one that was looked at is
    the one that is connected to.
    """

    def __init__(
        self, host: str, port: int, *, refuses: Callable[[str], bool] = is_metadata
    ) -> None:
        self._target = (host.lower(), port)
        self._refuses = refuses
        password = secrets.token_urlsafe(16)
        self._authorization = b"Basic " + base64.b64encode(f"gate:{password}".encode())
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://gate:{password}@127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="s3-gate", daemon=True).start()

    def __repr__(self) -> str:
        return f"<EgressGate to {self._target[0]}:{self._target[1]}>"

    def close(self) -> None:
        """Take no new connections; those that there are end with their transfers. Idempotent."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._serve, args=(inside,), name="s3-gate-connection", daemon=True
            ).start()

    def _serve(self, inside: socket.socket) -> None:
        with closing(inside):
            try:
                inside.settimeout(_HEAD_SECONDS)
                head, rest = _read_head(inside, b"")
                request = self._checked(head)
                outside = self._dial()
            except (Refused, OSError) as failure:
                self._turn_away(inside, failure)
                return
            with closing(outside):
                self._pass_on(inside, outside, request, rest)

    def _turn_away(self, inside: socket.socket, failure: Refused | OSError) -> None:
        why = str(failure) if isinstance(failure, Refused) else type(failure).__name__
        log.warning("egress.refused", target=self._target[0], why=why)
        with suppress(OSError):
            inside.sendall(b"HTTP/1.1 502 Not Passed On\r\nContent-Length: 0\r\n\r\n")

    def _pass_on(
        self, inside: socket.socket, outside: socket.socket, request: bytes, rest: bytes
    ) -> None:
        try:
            inside.settimeout(None)
            if request.startswith(b"CONNECT "):
                inside.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                outside.sendall(rest)
                _pump(inside, outside)
            else:
                outside.sendall(request)
                self._pump_requests(inside, outside, rest)
        except Refused as refused:
            # Between two requests: nothing of an answer is under way.
            self._turn_away(inside, refused)
        except OSError as error:
            log.debug("egress.ended", target=self._target[0], why=type(error).__name__)

    def _checked(self, head: bytes) -> bytes:
        """Return *head* as the host is to see it.

        Raises:
            Refused: It is for another host, or from somebody else.
        """
        first, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        if b"proxy-authorization: " + self._authorization not in map(_lower_name, fields):
            raise Refused("somebody without the password asked")
        method, target, version = _split_request_line(first)
        authority, path = _authority_and_path(method, target)
        if authority != self._target:
            raise Refused(f"a redirect to {authority[0]}:{authority[1]} is not followed")
        kept = [line for line in fields if not _lower_name(line).startswith(b"proxy-")]
        return b"\r\n".join([b" ".join((method, path, version)), *kept]) + b"\r\n\r\n"

    def _dial(self) -> socket.socket:
        """Connect to the first address that answers; each is looked at before."""
        found = socket.getaddrinfo(*self._target, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for family, kind, protocol, _, address in found:
            if self._refuses(str(address[0])):
                raise Refused(f"{self._target[0]} resolves to {address[0]}: a metadata service")
            one = socket.socket(family, kind, protocol)
            try:
                one.settimeout(_DIAL_SECONDS)
                one.connect(address)
            except OSError as error:
                failure = error
                one.close()
            else:
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return one
        raise failure or OSError("no address")

    def _pump_requests(self, inside: socket.socket, outside: socket.socket, rest: bytes) -> None:
        """Forward answers as they come, and look at each request: one connection serves many."""
        with _Pipe() as answers:
            while True:
                ready = {inside} if rest else _readable(inside, outside)
                if outside in ready and not answers.carry(outside, inside):
                    return
                if inside in ready:
                    head, rest = _read_head(inside, rest)
                    if not head:
                        return
                    outside.sendall(self._checked(head))


class _Pipe:
    """Carries bytes between two sockets without copying them into this process."""

    def __enter__(self) -> "_Pipe":
        self._out, self._in = os.pipe()
        # A user's pipes may be bounded; then they are as large as the kernel makes them.
        with suppress(OSError):
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, _SPLICED_AT_ONCE)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._out)
        os.close(self._in)

    def carry(self, source: socket.socket, sink: socket.socket) -> bool:
        """Move what *source* has now; waits for *sink*. False when *source* has ended."""
        count = os.splice(source.fileno(), self._in, _SPLICED_AT_ONCE)
        left = count
        while left > 0:
            left -= os.splice(self._out, sink.fileno(), left)
        return count > 0


def _pump(inside: socket.socket, outside: socket.socket) -> None:
    ways = {inside: outside, outside: inside}
    with _Pipe() as pipe:
        while ways:
            for source in _readable(*ways):
                if not pipe.carry(source, ways[source]):
                    with suppress(OSError):
                        ways[source].shutdown(socket.SHUT_WR)
                    del ways[source]


def _readable(*sockets: socket.socket) -> set[socket.socket]:
    """Wait until one of *sockets* has bytes or has ended, and return all that do."""
    # Not select(2), which ends at a thousand descriptors.
    watch = select.poll()
    for one in sockets:
        watch.register(one, select.POLLIN)
    ready = {descriptor for descriptor, _ in watch.poll()}
    return {one for one in sockets if one.fileno() in ready}


def _read_head(inside: socket.socket, begun: bytes) -> tuple[bytes, bytes]:
    """Return one request's head and what came behind it; empty at the end of the connection."""
    received = begun
    while b"\r\n\r\n" not in received:
        if len(received) > _HEAD_LIMIT:
            raise Refused("a request without an end")
        block = inside.recv(16 * 1024)
        if not block:
            return b"", b""
        received += block
    head, end, rest = received.partition(b"\r\n\r\n")
    return head + end, rest


def _lower_name(field: bytes) -> bytes:
    name, colon, value = field.partition(b":")
    return name.lower() + colon + value


def _split_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise Refused("a request that is none")
    return parts[0], parts[1], parts[2]


def _authority_and_path(method: bytes, target: bytes) -> tuple[Address, bytes]:
    if method == b"CONNECT":
        return _address(target, 443), target
    if method not in (b"GET", b"HEAD") or not target.startswith(b"http://"):
        raise Refused(f"{method.decode(errors='replace')} is not passed on")
    authority, slash, path = target.removeprefix(b"http://").partition(b"/")
    return _address(authority, 80), (slash or b"/") + path


def _address(authority: bytes, usual_port: int) -> Address:
    host, colon, port = authority.decode("ascii", errors="replace").rpartition(":")
    if colon and port.isdecimal() and not host.endswith(":"):
        return host.strip("[]").lower(), int(port)
    return authority.decode("ascii", errors="replace").strip("[]").lower(), usual_port
