"""The servers that other tests rely on do what those tests assume of them."""

import http.client
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from python_socks import ProxyError
from python_socks.sync import Proxy as Client

from tests.servers import proxies
from tests.servers.nginx import nginx
from tests.servers.processes import accepts, free_port, spawn
from tests.servers.tls import CertificateAuthority
from tests.waiting import until, wait_until

Start = Callable[[], AbstractContextManager[proxies.Proxy]]

PROXIES = [proxies.squid, proxies.tinyproxy, proxies.microsocks]


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says the first thing it hears once again."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(peer.recv(64))
                    peer.recv(64)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.proxy
@pytest.mark.parametrize("start", PROXIES, ids=lambda start: start.__name__)
class TestProxy:
    """Every proxy lets members through, nobody else, and says so in its log."""

    def test_lets_members_through(self, start: Start, echo: int) -> None:
        with start() as proxy:
            with _client(proxy.url()).connect("127.0.0.1", echo) as tunnel:
                tunnel.sendall(b"hello")
                assert tunnel.recv(5, socket.MSG_WAITALL) == b"hello"

            wait_until(lambda: proxy.asked_for(echo), message="the log naming the target")

    def test_refuses_a_wrong_password(self, start: Start, echo: int) -> None:
        with start() as proxy, pytest.raises(ProxyError):
            _client(proxy.url(password="wrong")).connect("127.0.0.1", echo)


def test_nginx_serves_ranges(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")

    with nginx(tmp_path, tmp_path) as origin:
        client = http.client.HTTPConnection("127.0.0.1", origin.port)
        client.request("GET", "/file", headers={"Range": "bytes=2-4"})
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (206, b"234")
        client.close()


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "raise SystemExit('no such luck')"]

    with pytest.raises(AssertionError, match="ended with 1; its log ends:\nno such luck"):
        spawn(argv, ready=free_port(), log=tmp_path / "log")


def test_a_stopped_server_is_gone(tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    server = spawn(argv, ready=port, log=tmp_path / "log")

    server.stop()

    assert (server.running, accepts(port)) == (False, False)


def test_no_port_is_handed_out_twice() -> None:
    ports = [free_port() for _ in range(50)]

    assert len(set(ports)) == 50


def test_certificates_are_good_for_their_names_only(
    certificate_authority: CertificateAuthority,
) -> None:
    cert_file, key_file = certificate_authority.issue("server", san=["localhost"])

    assert _handshake(certificate_authority, cert_file, key_file, "localhost") == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        _handshake(certificate_authority, cert_file, key_file, "elsewhere.test")


def test_a_certificate_of_the_past_has_expired(certificate_authority: CertificateAuthority) -> None:
    cert_file, key_file = certificate_authority.issue("old", life=timedelta(days=-1))

    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        _handshake(certificate_authority, cert_file, key_file, "localhost")


async def test_until_names_what_did_not_come_true() -> None:
    with pytest.raises(AssertionError, match="the moon did not come true"):
        await until(lambda: False, timeout=0.01, message="the moon")


def _client(url: str) -> Client:
    rdns = url.startswith("socks5h")
    return Client.from_url(url.replace("socks5h", "socks5"), rdns=rdns)


def _handshake(ca: CertificateAuthority, cert_file: Path, key_file: Path, name: str) -> str | None:
    """Do a TLS handshake in memory, as *name* is wanted; return the version that both chose."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(cert_file, key_file)
    client_context = ssl.create_default_context(cafile=ca.ca_file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.version()
