"""Stands in front of fake-gcs-server, which never looks at credentials, and does."""

import http.client
import json
import threading
from collections.abc import Iterator
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
        self.tokens = {"good"}
        self.forbidden: set[str] = set()
        self.failures: list[tuple[int, dict[str, str]]] = []
        """Answers, status and headers, to the next requests, whatever their token."""
        self.cut_after: int | None = None
        """The next download ends after so many bytes."""
        self.at_cut = lambda: None
        self.flip = False
        """Downloads have another first byte than the store."""
        self.gate = threading.Event()
        self.gate.set()
        self.requests: list[tuple[str, str]] = []
        """Token and path of each request."""

    def refusal(self, token: str) -> int | None:
        """Return the status for who comes with *token*, None where that is to be let in."""
        if token in self.forbidden:
            return 403
        return None if token in self.tokens else 401


@contextmanager
def running_gcs_proxy(target: int) -> Iterator[GcsProxy]:
    """Serve one on a free port of 127.0.0.1, before the server at the port *target*."""

    class Handler(_Handler):
        @property
        def proxy(self) -> GcsProxy:
            return proxy

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy = GcsProxy(target, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.gate.set()
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
        status = self.proxy.refusal(token)
        if status is not None:
            return self._refuse(status, {})
        return self._pass_on()

    def _refuse(self, status: int, headers: dict[str, str]) -> None:
        reason = {401: "authError", 403: "forbidden"}.get(status, "backendError")
        message = f"{self.headers.get('Authorization')} was quoted"
        error = {"code": status, "message": message, "errors": [{"reason": reason}]}
        body = json.dumps({"error": error}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
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
        left = None
        if "alt=media" in self.path and answer.status in (200, 206):
            left, self.proxy.cut_after = self.proxy.cut_after, None
        flip = self.proxy.flip and "alt=media" in self.path
        while left != 0 and (piece := answer.read(_PIECE if left is None else min(left, _PIECE))):
            if flip:
                piece, flip = bytes([piece[0] ^ 1]) + piece[1:], False
            left = None if left is None else left - len(piece)
            self.wfile.write(piece)
        if left == 0:
            self.proxy.at_cut()
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""
