"""A double of AWS STS for what no real server at hand answers: GetSessionToken, and failures.

The answers are those of STS on the wire. Signatures are not checked, the key id is.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


class StsDouble:
    """Issues numbered tokens that live for `life` to whoever has the key id `key_id`."""

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        self.key_id = "TESTKEY"
        self.unsigned = False
        """Whether a web identity is proof enough; it is not looked at."""
        self.life = timedelta(hours=1)
        self.failure: tuple[int, str] | None = None
        self.requests: list[dict[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def answer(self, authorization: str, form: dict[str, str]) -> tuple[int, str]:
        """Return status and body for one request."""
        self.requests.append(form)
        self.gate.wait(10)
        if self.failure is not None:
            return self.failure[0], _error(self.failure[1])
        if form["Action"] == "GetCallerIdentity":
            return self._caller(authorization)
        proven = self.unsigned and not authorization
        if not proven and f"Credential={self.key_id}/" not in authorization:
            return 403, _error("InvalidClientTokenId")
        return 200, self._issued(form["Action"])

    def _caller(self, authorization: str) -> tuple[int, str]:
        """Name whoever has a key that was issued here."""
        issued = re.search(r"Credential=ISSUED(\d+)/", authorization)
        if issued is None:
            return 403, _error("InvalidClientTokenId")
        arn = f"<Arn>arn:aws:sts::123456789012:federated-user/number-{issued[1]}</Arn>"
        result = f"<GetCallerIdentityResult>{arn}</GetCallerIdentityResult>"
        tag = "GetCallerIdentityResponse"
        return 200, f'<{tag} xmlns="{_NAMESPACE}">{result}</{tag}>'

    def _issued(self, action: str) -> str:
        number = len(self.requests)
        expiration = (datetime.now(UTC) + self.life).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result><Credentials>'
            f"<AccessKeyId>ISSUED{number}</AccessKeyId>"
            f"<SecretAccessKey>issued-secret-{number}</SecretAccessKey>"
            f"<SessionToken>issued-token-{number}</SessionToken>"
            f"<Expiration>{expiration}</Expiration>"
            f"</Credentials></{action}Result></{action}Response>"
        )


@contextmanager
def running_sts() -> Iterator[StsDouble]:
    """Serve one on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            form = {k: v[0] for k, v in parse_qs(self.rfile.read(length).decode()).items()}
            status, body = sts.answer(self.headers.get("Authorization", ""), form)
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sts = StsDouble(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield sts
        sts.gate.set()
        server.shutdown()
        thread.join()


def _error(code: str) -> str:
    # AWS quotes what was signed, session token included, when a signature does not match.
    message = "the canonical string should have been x-amz-security-token:quoted-token"
    return (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{message}</Message></Error></ErrorResponse>"
    )
