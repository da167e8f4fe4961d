"""Serves the double over HTTPS, as an API server is reached."""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from tests.doubles.kubernetes.objects import Answer, HungUp
from tests.doubles.kubernetes.requests import Request
from tests.servers.tls import CertificateAuthority


class Api(Protocol):
    """Decides on requests; None hangs up, and so do pieces that end in `HungUp`."""

    def answer(self, request: Request) -> Answer | None: ...


@contextmanager
def serving(api: Api, authority: CertificateAuthority) -> Iterator[str]:
    """Serve *api* on a free port of 127.0.0.1; yields the address.

    *authority* vouches for the server, and for clients that show a certificate.
    """
    server = _Server(("127.0.0.1", 0), _handler(api))
    server.tls = _tls(authority)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.close_all()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """Does the TLS handshake in the thread of the connection, so that none holds up the others."""

    tls: ssl.SSLContext
    daemon_threads = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[Any] = set()

    def get_request(self) -> tuple[Any, Any]:
        plain, address = super().get_request()
        one = self.tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        self._open.add(one)
        return one, address

    def close_request(self, request: Any) -> None:
        self._open.discard(request)
        super().close_request(request)

    def close_all(self) -> None:
        """End connections that clients left open."""
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(2)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hung up or distrust the certificate."""


def _tls(authority: CertificateAuthority) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(*authority.issue("kubernetes"))
    return context


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            where = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            request = Request(
                method=self.command,
                path=where.path,
                query=dict(parse_qsl(where.query, keep_blank_values=True)),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(length),
                certificate_name=_common_name(self.connection),
            )
            answer = api.answer(request)
            self.close_connection = answer is None
            if answer is not None:
                try:
                    self._send(answer)
                except HungUp:
                    self.close_connection = True

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def _send(self, answer: Answer) -> None:
            if answer.body is not None and not isinstance(answer.body, str | Mapping):
                self._stream(answer, answer.body)
                return
            is_text = isinstance(answer.body, str)
            kind = "text/plain; charset=utf-8" if is_text else "application/json"
            text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            content = b"" if answer.body is None else text.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-cache, private")
            if answer.body is not None:
                self.send_header("Content-Length", str(len(content)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _stream(self, answer: Answer, pieces: Iterator[bytes]) -> None:
            self.send_response(answer.status)
            self.send_header("Transfer-Encoding", "chunked")
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in pieces:
                if piece:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _common_name(connection: Any) -> str | None:
    certificate = connection.getpeercert() or {}
    names = [value for rdn in certificate.get("subject", ()) for key, value in rdn]
    return names[0] if names else None
