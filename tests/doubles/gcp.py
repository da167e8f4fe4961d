"""The services of Google that issue tokens and say whose they are, over real sockets.

Signatures of service accounts are verified, and a token that was not issued here is refused.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

EMAIL = "reader@test-project.iam.gserviceaccount.com"
TARGET = "narrow@test-project.iam.gserviceaccount.com"
PERSON = "person@example.com"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
TOKEN_AUDIENCE = "https://oauth2.googleapis.com/token"
"""What google-auth writes into an assertion, wherever it sends it."""
AWS_REQUEST = "urn:ietf:params:aws:token-type:aws4_request"
SUBJECT_TOKEN = "signed-by-the-identity-provider"

Answer = tuple[int, dict[str, Any]]
Form = dict[str, str]


@cache
def private_key() -> str:
    """Return the key of the service account, made once for a test run."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@cache
def _public_key() -> bytes:
    key = serialization.load_pem_private_key(private_key().encode(), None)
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


class GoogleDouble:
    """Issues numbered tokens that live for `life`; `whose` says whom each was issued to."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = url.removeprefix("http://")
        self.life = timedelta(hours=1)
        self.refresh_token = "stored-refresh-token"
        self.failures: list[Answer] = []
        self.gate = threading.Event()
        """While it is not set, nothing is answered."""
        self.gate.set()
        self.whose: dict[str, str] = {}
        self.requests: list[tuple[str, Form]] = []
        self.boundaries: list[dict[str, Any]] = []
        self.narrows = True
        self.endless = False
        """Narrowed tokens come without their end."""
        self.cluster: dict[str, Any] = {
            "endpoint": "203.0.113.7",
            "masterAuth": {"clusterCaCertificate": base64.b64encode(b"PEM of a CA").decode()},
        }

    def service_account(self, **changed: object) -> str:
        """Return the JSON that Google gives out with a key."""
        document = {
            "type": "service_account",
            "project_id": "test-project",
            "private_key": private_key(),
            "private_key_id": "1",
            "client_email": EMAIL,
            "token_uri": f"{self.url}/token",
        }
        return json.dumps({**document, **changed})

    def user_account(self, **changed: object) -> str:
        """Return the JSON that ``gcloud auth application-default login`` writes."""
        document = {
            "type": "authorized_user",
            "client_id": "an-application",
            "client_secret": "of-the-application",
            "refresh_token": self.refresh_token,
            "token_uri": f"{self.url}/token",
        }
        return json.dumps({**document, **changed})

    def external_account(self, source: object = None, **changed: object) -> str:
        """Return the JSON of workload identity federation."""
        document = {
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/v1/token",
            "credential_source": source or {"url": f"{self.url}/subject-token"},
        }
        return json.dumps({**document, **changed})

    def given(self) -> str:
        """Return a token as a person gets one, outside of the agent."""
        return str(self._token(PERSON)[1]["access_token"])

    def paths(self) -> list[str]:
        """Return the paths asked for so far."""
        return [path for path, _ in self.requests]

    def get(self, path: str, bearer: str) -> Answer | str:
        """Answer one GET."""
        self.requests.append((path, {}))
        if self.failures:
            return self.failures.pop(0)
        if path == "/subject-token":
            return SUBJECT_TOKEN
        if "/clusters/" in path:
            if bearer not in self.whose:
                return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}
            return 200, self.cluster
        return self._metadata(path.partition("?")[0])

    def post(self, path: str, form: Form, bearer: str) -> Answer:
        """Answer one POST."""
        self.requests.append((path, form))
        self.gate.wait(10)
        if self.failures:
            return self.failures.pop(0)
        if path == "/token":
            return self._login(form)
        if path == "/v1/token":
            return self._exchange(form)
        if path == "/tokeninfo":
            return self._tokeninfo(form)
        return self._impersonate(path, bearer)

    def _metadata(self, path: str) -> Answer | str:
        account = "/computeMetadata/v1/instance/service-accounts/default"
        if path == f"{account}/token":
            return self._token(EMAIL)
        if path.rstrip("/") == account:
            return 200, {"email": EMAIL, "scopes": [], "aliases": ["default"]}
        return "test-project"

    def _login(self, form: Form) -> Answer:
        if "refresh_token" in form:
            good = form["refresh_token"] == self.refresh_token
            return self._token(PERSON) if good else (400, {"error": "invalid_grant"})
        try:
            claims = jwt.decode(form["assertion"], certs=_public_key(), audience=TOKEN_AUDIENCE)
        except ValueError:
            said = f"wrong signature of {form['assertion']}"
            return 400, {"error": "invalid_grant", "error_description": said}
        return self._token(claims["iss"])

    def _exchange(self, form: Form) -> Answer:
        token = form["subject_token"]
        if "options" not in form:
            signed = form["subject_token_type"] == AWS_REQUEST and "AWS4-HMAC-SHA256" in token
            good = signed or token == SUBJECT_TOKEN
            return self._token("") if good else (400, {"error": "invalid_grant"})
        self.boundaries.append(json.loads(unquote(form["options"])))
        if not self.narrows or token not in self.whose:
            return 400, {"error": "invalid_request", "error_description": f"quoting {token}"}
        status, answer = self._token(self.whose[token], narrowed=True)
        if self.endless:
            del answer["expires_in"]
        return status, answer

    def _impersonate(self, path: str, bearer: str) -> Answer:
        target = path.rpartition("/")[2].removesuffix(":generateAccessToken")
        if bearer not in self.whose or target != TARGET:
            return 403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": bearer}}
        issued = self._token(target)[1]
        end = (datetime.now(UTC) + self.life).strftime("%Y-%m-%dT%H:%M:%SZ")
        return 200, {"accessToken": issued["access_token"], "expireTime": end}

    def _tokeninfo(self, form: Form) -> Answer:
        owner = self.whose.get(form["access_token"])
        if not owner:
            return 400, {"error": "invalid_token", "error_description": "Invalid Value"}
        return 200, {"email": owner, "expires_in": str(int(self.life.total_seconds()))}

    def _token(self, owner: str, *, narrowed: bool = False) -> Answer:
        kind = "narrowed" if narrowed else "issued"
        token = f"{kind}-token-{len(self.whose) + 1}"
        self.whose[token] = owner
        seconds = int(self.life.total_seconds())
        return 200, {"access_token": token, "expires_in": seconds, "token_type": "Bearer"}


@contextmanager
def running_google() -> Iterator[GoogleDouble]:
    """Serve one on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(google.get(self.path, self._bearer()))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.headers["Content-Type"] == "application/json":
                form = {key: str(value) for key, value in json.loads(body).items()}
            else:
                form = {key: values[0] for key, values in parse_qs(body).items()}
            self._answer(google.post(self.path, form, self._bearer()))

        def _bearer(self) -> str:
            return self.headers.get("Authorization", "").removeprefix("Bearer ")

        def _answer(self, answer: Answer | str) -> None:
            status, content = (200, answer) if isinstance(answer, str) else answer
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            kind = "text" if isinstance(content, str) else "json"
            self.send_header("Content-Type", f"application/{kind}")
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        google = GoogleDouble(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield google
        finally:
            google.gate.set()
            server.shutdown()
            thread.join()
