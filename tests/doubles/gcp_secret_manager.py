"""Google Cloud Secret Manager as it is on the wire, by REST; there is no server of it to run."""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import google_crc32c

_PATH = re.compile(r"/v1/(projects/([^/]+)/(?:locations/[^/]+/)?secrets/([^/]+))/versions/(\w+)")
_STATUS = {
    400: "FAILED_PRECONDITION",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    503: "UNAVAILABLE",
}


class SecretManagerDouble:
    """Keeps versions of secrets for those whose token *known* knows."""

    def __init__(self, url: str, known: Callable[[str], object]) -> None:
        self.url = url
        self.known = known
        self.versions: dict[str, list[bytes]] = {}
        self.aliases: dict[str, int] = {}
        self.disabled: set[str] = set()
        self.forbidden: set[str] = set()
        self.failures: list[int] = []
        self.damaged = False
        self.location: str | None = None
        self.requests: list[tuple[str, str]] = []
        """Token and path of each request."""

    def put(self, name: str, data: bytes, *, project: str = "test-project") -> str:
        """Add a version and return its number."""
        versions = self.versions.setdefault(f"projects/{project}/secrets/{name}", [])
        versions.append(data)
        return str(len(versions))

    def access(self, path: str, token: str) -> tuple[int, dict[str, Any]]:
        """Answer the question for one version."""
        self.requests.append((token, path))
        if self.failures:
            return self._error(self.failures.pop(0), token)
        if self.location is not None:
            return 302, {}
        if not self.known(token):
            return self._error(401, token)
        match = _PATH.match(path)
        if match is None:
            return self._error(404, token)
        secret, _, name, version = match.groups()
        if name in self.forbidden:
            return self._error(403, token)
        if version in self.disabled:
            return self._error(400, token)
        versions = self.versions.get(secret, [])
        number = self._number(version, len(versions))
        if not 1 <= number <= len(versions):
            return self._error(404, token)
        return 200, self._payload(f"{secret}/versions/{number}", versions[number - 1])

    def _number(self, version: str, last: int) -> int:
        if version == "latest":
            return last
        return int(version) if version.isdigit() else self.aliases.get(version, 0)

    def _payload(self, name: str, data: bytes) -> dict[str, Any]:
        checksum = google_crc32c.value(data)
        if self.damaged:
            data = data[::-1]
        encoded = base64.b64encode(data).decode()
        return {"name": name, "payload": {"data": encoded, "dataCrc32c": str(checksum)}}

    def _error(self, status: int, token: str) -> tuple[int, dict[str, Any]]:
        message = f"{token} was quoted"
        return status, {"error": {"code": status, "message": message, "status": _STATUS[status]}}


@contextmanager
def running_secret_manager(known: Callable[[str], object]) -> Iterator[SecretManagerDouble]:
    """Serve one on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, content = double.access(self.path.partition("?")[0], token)
            body = json.dumps(content).encode()
            self.send_response(status)
            if double.location is not None:
                self.send_header("Location", double.location)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        double = SecretManagerDouble(f"http://127.0.0.1:{server.server_port}", known)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
