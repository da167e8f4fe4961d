"""A double of RabbitMQ's management API, so that OpenBao makes and revokes users there for real."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_USERS = "/api/users/"


class RabbitMQ:
    """Remembers which users exist."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.users: set[str] = set()
        self.made = 0

    def handle(self, method: str, path: str) -> None:
        """Take in one request of the management API."""
        if not path.startswith(_USERS):
            return
        user = path.removeprefix(_USERS)
        if method == "PUT":
            self.made += 1
            self.users.add(user)
        elif method == "DELETE":
            self.users.discard(user)


@contextmanager
def running_rabbitmq() -> Iterator[RabbitMQ]:
    """Serve one on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            rabbit.handle(self.command, urlsplit(self.path).path)
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_DELETE = do_GET = _answer

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        rabbit = RabbitMQ(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield rabbit
        server.shutdown()
        thread.join()
