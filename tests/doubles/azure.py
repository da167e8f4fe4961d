"""A double of Microsoft Entra and of the services that ask it: they answer as those do on the wire.

Tokens are not signed. What issued them is asked about them instead: nothing else passes.
"""

import base64
import json
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.servers.tls import CertificateAuthority

TENANT = "11111111-2222-4333-8444-555555555555"
CLIENT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
OBJECT = "99999999-8888-4777-8666-555555555555"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to a service."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    form: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service says to it."""

    status: int
    body: object
    """Bytes as they are; everything else as JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)


Service = Callable[[Asked], Answer | None]
"""None is for others to answer."""


class Entra:
    """Issues tokens that live for `life` seconds to the client, by its secret or its assertion.

    As a metadata service it issues them to whoever asks with the right header.
    """

    def __init__(self) -> None:
        self.secret = "the-client-secret-of-a-test"
        self.assertion = "the-assertion-of-a-test"
        self.identity_header = "the-header-of-a-test"
        self.life = 3600
        self.failure: Answer | None = None
        self.issued: list[dict[str, Any]] = []
        self.url = ""

    def answer(self, asked: Asked) -> Answer | None:
        if asked.path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            base = f"{self.url}/{TENANT}"
            return Answer(200, {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "issuer": f"{base}/v2.0",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
            })  # fmt: skip
        if asked.path == f"/{TENANT}/oauth2/v2.0/token":
            return self.failure or self._exchange(asked.form)
        if asked.path in ("/metadata/identity/oauth2/token", "/msi/token"):
            return self.failure or self._metadata(asked)
        return None

    def token(self, audience: str, *, life: float | None = None) -> str:
        """Issue one for *audience*, as the exchange would."""
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": int(now + (self.life if life is None else life)),
            "appid": CLIENT,
            "oid": OBJECT,
            "tid": TENANT,
            "jti": uuid.uuid4().hex,
        }
        self.issued.append(claims)
        return jwt(claims)

    def accepts(self, asked: Asked, audience: str) -> bool:
        """Whether the request has a token of ours for *audience* that has not ended."""
        header = asked.headers.get("Authorization", "")
        return self.knows(header.removeprefix("Bearer "), audience)

    def knows(self, token: str, audience: str) -> bool:
        """Whether *token* is one of ours for *audience* that has not ended."""
        return any(
            token == jwt(claims) and claims["aud"] == audience and claims["exp"] > time.time()
            for claims in self.issued
        )

    def _exchange(self, form: Mapping[str, str]) -> Answer:
        known = self.secret if "client_secret" in form else self.assertion
        given = form.get("client_secret") or form.get("client_assertion")
        if form.get("client_id") != CLIENT or given != known:
            # Entra's texts quote the request.
            text = f"AADSTS7000215: Invalid client secret provided: {given} Trace ID: 1"
            return Answer(401, {"error": "invalid_client", "error_description": text})
        audience = form["scope"].split()[0].removesuffix("/.default")
        return Answer(200, {
            "token_type": "Bearer", "expires_in": self.life, "access_token": self.token(audience),
        })  # fmt: skip

    def _metadata(self, asked: Asked) -> Answer:
        header = asked.headers.get("X-IDENTITY-HEADER")
        if asked.headers.get("Metadata") != "true" and header != self.identity_header:
            return Answer(400, {"error": "invalid_request", "error_description": "no header"})
        audience = asked.query["resource"]
        return Answer(200, {
            "access_token": self.token(audience), "token_type": "Bearer", "resource": audience,
            "expires_in": str(self.life), "expires_on": str(int(time.time()) + self.life),
        })  # fmt: skip


def jwt(claims: Mapping[str, Any]) -> str:
    """Return a token with *claims* that nobody signed."""
    parts = ({"typ": "JWT", "alg": "none"}, claims, {"signature": "of a test"})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    return ".".join(part.decode().rstrip("=") for part in encoded)


@contextmanager
def served(*services: Service, authority: CertificateAuthority | None) -> Iterator[str]:
    """Serve all *services* at one address of this host, with TLS if there is an *authority*."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(dict(parse_qsl(body.decode())))

        def _answer(self, form: Mapping[str, str]) -> None:
            url = urlsplit(self.path)
            query = dict(parse_qsl(url.query))
            asked = Asked(self.command, url.path, query, dict(self.headers), form)
            answers = filter(None, (service(asked) for service in services))
            answer = next(answers, Answer(404, {"error": {"code": "NotFound", "message": ""}}))
            whole = isinstance(answer.body, bytes)
            body = answer.body if whole else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        scheme = "http"
        if authority is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*authority.issue(f"azure-{server.server_port}"))
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        # A client that does not trust us is part of a test.
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        # The interval is how long the end may take.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"{scheme}://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
