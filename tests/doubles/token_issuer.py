"""An issuer of JWTs with the two ways in which a server asks it about them: keys, and TokenReview.

It stands for a cluster, or for any workload identity provider.
"""

import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.servers.tls import CertificateAuthority

_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


class TokenIssuer:
    """Signs, and tells what it signed from what others did."""

    audience = "https://vault.example"

    def __init__(self, address: str) -> None:
        self.address = address
        self.keys_url = f"{address}/keys"
        self.reviews = 0
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """The key in PEM that verifies what is signed here."""
        return (
            self._key.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )

    def sign(self, account: str, *, namespace: str = "ml", life: float = 600.0) -> str:
        """Return a token of the service account, as a kubelet projects it into a pod."""
        now = time.time()
        account_claims = {"name": account, "uid": str(uuid.uuid4())}
        claims = {
            "iss": self.address,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "aud": [self.audience],
            "iat": int(min(now, now + life) - 60),
            "nbf": int(min(now, now + life) - 60),
            "exp": int(now + life),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": account_claims},
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": "1"})

    def keys(self) -> dict[str, Any]:
        """Return the JSON Web Key Set."""
        key = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": "1", "use": "sig", "alg": "ES256"}]}

    def review(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a TokenReview as an API server does."""
        self.reviews += 1
        try:
            claims = jwt.decode(
                request["spec"]["token"],
                self._key.public_key(),
                algorithms=["ES256"],
                audience=request["spec"].get("audiences") or [self.audience],
            )
        except jwt.InvalidTokenError as error:
            return {**request, "status": {"authenticated": False, "error": f"[{error}]"}}
        user = {
            "username": claims["sub"],
            "uid": claims["kubernetes.io"]["serviceaccount"]["uid"],
            "groups": ["system:serviceaccounts", "system:authenticated"],
        }
        status = {"authenticated": True, "user": user, "audiences": claims["aud"]}
        return {**request, "status": status}


@contextmanager
def running_token_issuer(authority: CertificateAuthority) -> Iterator[TokenIssuer]:
    """Serve one with TLS on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/keys"
            self._answer(200 if found else 404, issuer.keys() if found else {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = self.path == _REVIEWS
            self._answer(201 if found else 404, issuer.review(body) if found else {})

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("token-issuer"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        issuer = TokenIssuer(f"https://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield issuer
        server.shutdown()
        thread.join()
