"""TLS, and certificates of clients: agents need one where a client CA is set, users do not."""

import datetime
import ssl
from pathlib import Path

import aiohttp
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import InvalidStatus

from agent.errors import UsageError
from agent.protocol.messages import ENROLL_PATH, SUBPROTOCOL
from control_plane_stub.server import ServeOptions, running
from tests.control_plane_stub.fake_agent import Identity, ws_url


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost that is its own issuer; returns it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


async def open_enrolment(base: str, trust: ssl.SSLContext) -> str | None:
    """Dial the enrolment; return the sub-protocol that was agreed."""
    url = ws_url(base, ENROLL_PATH)
    headers = {"Authorization": f"Bearer {Identity().proof(url)}"}
    protocols = [websockets.Subprotocol(SUBPROTOCOL)]
    async with websockets.connect(
        url, ssl=trust, additional_headers=headers, subprotocols=protocols, proxy=None
    ) as ws:
        return ws.subprotocol


async def test_agents_need_a_certificate_where_a_client_ca_is_set(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    options = ServeOptions(
        state_dir=tmp_path / "s", listen_port=0, tls_cert=cert, tls_key=key, client_ca=cert
    )
    trust = ssl.create_default_context(cafile=cert)
    async with running(options) as base:
        base = base.replace("127.0.0.1", "localhost")
        async with aiohttp.ClientSession() as user, user.get(base + "/healthz", ssl=trust) as page:
            assert page.status == 200
        with pytest.raises(InvalidStatus):
            await open_enrolment(base, trust)
        trust.load_cert_chain(cert, key)
        assert await open_enrolment(base, trust) == SUBPROTOCOL


@pytest.mark.parametrize("given", ["tls_cert", "tls_key", "client_ca"])
async def test_half_of_the_tls_options_is_a_mistake_of_usage(tmp_path: Path, given: str) -> None:
    options = ServeOptions(state_dir=tmp_path, listen_port=0, **{given: tmp_path / "x.pem"})
    with pytest.raises(UsageError, match="--tls-cert and --tls-key"):
        async with running(options):
            pass
