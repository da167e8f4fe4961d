"""A double of what hands a role's credentials to an EC2 host, and of what does to a pod of EKS."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = "127.66.0.1"
"""Of the loopback network, so that a test can count it among the metadata services."""
POD = "/v1/credentials"
"""The path of EKS Pod Identity, which answers all that come from the pod."""
_ROLE = "role-of-the-host"
_CREDENTIALS = "/latest/meta-data/iam/security-credentials/"


class HostDouble:
    """Hands out numbered keys that live for `life`; a host wants a token fetched before."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.life = timedelta(hours=6)
        self.issued = 0
        self.up = True

    def credentials(self) -> dict[str, str]:
        """Return what the role is given now."""
        self.issued += 1
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": f"HOSTKEY{self.issued}",
            "SecretAccessKey": f"host-secret-{self.issued}",
            "Token": f"host-token-{self.issued}",
            "Expiration": (datetime.now(UTC) + self.life).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


@contextmanager
def running_host() -> Iterator[HostDouble]:
    """Serve one on a free port of `ADDRESS`."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._answer(200, "token-of-the-host")

        def do_GET(self) -> None:
            known = self.headers.get("X-aws-ec2-metadata-token") == "token-of-the-host"
            if self.path == POD:
                self._answer(200, json.dumps(host.credentials()))
            elif not known or not host.up:
                self._answer(503 if known else 401, "")
            elif self.path == _CREDENTIALS:
                self._answer(200, _ROLE)
            elif self.path == _CREDENTIALS + _ROLE:
                self._answer(200, json.dumps(host.credentials()))
            else:
                self._answer(404, "")

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((ADDRESS, 0), Handler) as server:
        host = HostDouble(f"http://{ADDRESS}:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield host
        server.shutdown()
        thread.join()
