"""Issues the tokens that a registry of images sends its users for, as those of clouds do."""

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.servers.tls import CertificateAuthority

ISSUER = "test-issuer"
SERVICE = "test-registry"


@contextmanager
def issuing_tokens(authority: CertificateAuthority, passwords: Mapping[str, str]) -> Iterator[str]:
    """Serve tokens that *authority* vouches for; yields the address."""
    files = authority.issue("registry-tokens")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            user, _, password = _pair(self.headers.get("Authorization", ""))
            good = asked.get("service") == [SERVICE] and passwords.get(user) == password
            answer = {"token": _token(user, *files)} if good else {"details": "wrong password"}
            content = json.dumps(answer).encode()
            self.send_response(200 if good else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join()


def _pair(header: str) -> tuple[str, str, str]:
    encoded = header.removeprefix("Basic ")
    return base64.b64decode(encoded).decode().partition(":")


def _token(user: str, cert_file: Path, key_file: Path) -> str:
    certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    chain = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    now = int(time.time())
    header = {"typ": "JWT", "alg": "ES256", "x5c": [chain]}
    claims = {"iss": ISSUER, "aud": SERVICE, "sub": user, "access": []}
    times = {"iat": now, "nbf": now - 10, "exp": now + 300, "jti": "1"}
    signed = f"{_encoded(header)}.{_encoded({**claims, **times})}"
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_text(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encoded(part: Mapping[str, object]) -> str:
    return _text(json.dumps(part).encode())


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
