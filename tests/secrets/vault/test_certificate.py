"""A listener that asks every client for a certificate, also where another login is used."""

import json
import socket
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509

from agent.errors import CredentialUnavailable
from agent.secrets.vault.certificate import CertificateLogin
from agent.secrets.vault.token import TokenLogin
from tests.servers.tls import CertificateAuthority

_AUTH = {"client_token": "issued", "lease_duration": 600, "renewable": True}
_ANSWER = json.dumps({"auth": _AUTH, "data": {"data": {"key": "first"}}}).encode()

_LATER = {"do_handshake_on_connect": False}


class Listener:
    """Logs everybody in who shows a certificate; knows which one came with which path."""

    def __init__(self, address, ca_file) -> None:
        self.address = address
        self.ca_file = ca_file
        self.status = 200
        self.shown: list[tuple[str, int]] = []


@contextmanager
def _running(authority):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            shown = x509.load_der_x509_certificate(self.connection.getpeercert(binary_form=True))
            listener.shown.append((self.path, shown.serial_number))
            refused = listener.status != 200 and "/login" not in self.path
            self.send_response(listener.status if refused else 200)
            self.send_header("Content-Length", str(len(_ANSWER)))
            self.end_headers()
            self.wfile.write(_ANSWER)

        do_POST = do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("listener"))
    context.load_verify_locations(authority.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED

    class Server(ThreadingHTTPServer):
        def finish_request(self, request, client_address) -> None:
            with context.wrap_socket(request, server_side=True, **_LATER) as tls:
                try:
                    tls.do_handshake()
                except ssl.SSLError:
                    # Were it closed with unread bytes, the client might miss the alert.
                    while socket.socket.recv(tls, 4096):
                        continue
                else:
                    Handler(tls, client_address, self)

    with Server(("127.0.0.1", 0), Handler) as http:
        listener = Listener(f"https://127.0.0.1:{http.server_port}", authority.ca_file)
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield listener
        http.shutdown()
        thread.join()


@pytest.fixture
def listener(certificate_authority):
    with _running(certificate_authority) as listener:
        yield listener


@pytest.fixture
def certificate(certificate_authority, tmp_path):
    """Makes a new certificate in the same two files; returns them and its serial number."""
    files = tmp_path / "tls.crt", tmp_path / "tls.key"

    def make(authority=certificate_authority):
        for file, issued in zip(files, authority.issue("agent"), strict=True):
            file.write_bytes(issued.read_bytes())
        return *files, x509.load_pem_x509_certificate(files[0].read_bytes()).serial_number

    return make


def _login(cert_file, key_file) -> CertificateLogin:
    return CertificateLogin(cert_file, key_file=key_file, role=None, mount="cert")


async def _refusal(store) -> str:
    with pytest.raises(CredentialUnavailable) as failure:
        await store.read("ml/s3")
    return failure.value.detail


async def test_the_certificate_is_shown_for_every_question(open_store, listener, certificate):
    cert_file, key_file, serial = certificate()

    await open_store(_login(cert_file, key_file), server=listener, engine="kv2").read("ml/s3")

    assert [("/v1/auth/cert/login", serial), ("/v1/secret/data/ml/s3", serial)] == listener.shown


async def test_a_rotated_certificate_is_shown_from_the_next_login_on(
    open_store, listener, certificate
):
    """Not over a connection that still stands and was opened with the old one."""
    cert_file, key_file, old = certificate()
    store = open_store(_login(cert_file, key_file), server=listener, engine="kv2")
    await store.read("ml/s3")
    _, _, new = certificate()
    listener.shown.clear()

    listener.status = 403
    await _refusal(store)

    assert ("/v1/secret/data/ml/s3", old) == listener.shown[0]
    assert ("/v1/auth/cert/login", new) in listener.shown
    assert ("/v1/secret/data/ml/s3", new) == listener.shown[-1]


async def test_a_login_without_a_certificate_is_told_that_one_is_asked_for(open_store, listener):
    refusal = await _refusal(open_store(TokenLogin(None), server=listener, engine="kv2"))

    assert "wants a client certificate" in refusal


async def test_a_certificate_of_another_ca_is_told_to_be_refused(
    open_store, listener, certificate, tmp_path
):
    other = tmp_path / "other"
    other.mkdir()
    cert_file, key_file, _ = certificate(CertificateAuthority(other, name="Other CA"))

    refusal = await _refusal(open_store(_login(cert_file, key_file), server=listener))

    assert "does not accept our client certificate" in refusal


@pytest.mark.parametrize("broken", ["cert_file", "key_file"])
async def test_files_that_do_not_fit_are_named(open_store, listener, certificate, broken):
    cert_file, key_file, _ = certificate()
    {"cert_file": cert_file, "key_file": key_file}[broken].write_text("not what it should be")

    refusal = await _refusal(open_store(_login(cert_file, key_file), server=listener))

    assert f"{cert_file} and {key_file}: not what it should be" == refusal
    assert [] == listener.shown
