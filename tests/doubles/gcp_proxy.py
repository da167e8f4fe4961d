"""Stands in front of fake-gcs-server, which never looks at credentials, and does."""

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE = 64 * 1024
_OWN = {"connection", "transfer-encoding", "keep-alive"}


class GcsProxy:
    """Passes on requests whose token is among *tokens*; others get 401 in Google's words.

    Who holds a token of *forbidden* gets 403. Each may be changed while requests are under way.
    """

    def __init__(self, target: int, endpoint_url: str) -> None:
        self.target = target
        self.endpoint_url = endpoint_url
        self.tokens: Container[str] = {"good"}
        self.forbidden: set[str] = set()
        self.failures: list[tuple[int, str]] = []
        """Status and reason of the answers to the next requests, whatever their token."""
        self.location: str | None = None
        """Where everybody is sent instead."""
        self.cut_after: int | None = None
        """The next download ends after so many bytes."""
        self.at_cut: Callable[[], object] = lambda: None
        self.stall_after: int | None = None
        """Downloads say nothing more after so many bytes, until `flow` is set."""
        self.flow = threading.Event()
        self.flip = False
        """Downloads have another first byte than the store."""
        self.gate = threading.Event()
        self.gate.set()
        self.stalled = threading.Event()
        self.requests: list[tuple[str, str]] = []
        """Token and path of each request."""

    def refusal(self, token: str) -> int | None:
        """Return the status for who comes with *token*, None where that is to be let in."""
        if token in self.forbidden:
            return 403
        return None if token in self.tokens else 401


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that left; whatever else went wrong, the client sees."""


@contextmanager
def running_gcs_proxy(target: int, tls: ssl.SSLContext | None = None) -> Iterator[GcsProxy]:
    """Serve one on a free port of 127.0.0.1, before the server at the port *target*."""

    class Handler(_Handler):
        @property
        def proxy(self) -> GcsProxy:
            return proxy

    with _Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https" if tls else "http"
        proxy = GcsProxy(target, f"{scheme}://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.gate.set()
            proxy.flow.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def proxy(self) -> GcsProxy:
        raise NotImplementedError

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.proxy.requests.append((token, self.path))
        self.proxy.gate.wait(20)
        if self.proxy.failures:
            return self._refuse(*self.proxy.failures.pop(0))
        if self.proxy.location is not None:
            return self._refuse(302, "moved")
        status = self.proxy.refusal(token)
        if status is not None:
            return self._refuse(status, {401: "authError", 403: "forbidden"}[status])
        return self._pass_on()

    def _refuse(self, status: int, reason: str) -> None:
        message = f"{self.headers.get('Authorization')} was quoted"
        error = {"code": status, "message": message, "errors": [{"reason": reason}]}
        body = json.dumps({"error": error}).encode()
        self.send_response(status)
        if self.proxy.location is not None:
            self.send_header("Location", self.proxy.location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.target, timeout=20)
        try:
            upstream.request("GET", self.path, headers=dict(self.headers))
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OWN:
                    self.send_header(name, value)
            if answer.length is None:
                self.close_connection = True
                self.send_header("Connection", "close")
            self.end_headers()
            self._copy(answer)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            upstream.close()

    def _copy(self, answer: http.client.HTTPResponse) -> None:
        proxy, sent, end = self.proxy, 0, None
        download = "alt=media" in self.path and answer.status in (200, 206)
        if download:
            end, proxy.cut_after = proxy.cut_after, None
        while sent != end and (piece := answer.read(_PIECE if end is None else end - sent)):
            if download and proxy.flip and sent == 0:
                piece = bytes([piece[0] ^ 1]) + piece[1:]
            if download and proxy.stall_after is not None and sent >= proxy.stall_after:
                proxy.stalled.set()
                proxy.flow.wait(20)
            self.wfile.write(piece)
            sent += len(piece)
        if sent == end:
            proxy.at_cut()
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""
