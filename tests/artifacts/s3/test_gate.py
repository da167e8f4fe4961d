"""obstore gets out through the gate alone: to one host, at an address that was looked at."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import obstore
import pytest
from obstore.store import S3Store

from agent.artifacts.s3.gate import EgressGate, way_out
from agent.http_session import HttpSession, RequestException
from tests.artifacts.places import S3Place, read
from tests.servers.seaweedfs import ADMIN, BUCKET, REGION, SeaweedFS, s3_client
from tests.servers.tls import CertificateAuthority

CONTENT = bytes(range(256)) * 20_000


class Origin(BaseHTTPRequestHandler):
    """Serves CONTENT, redirects, and breaks off; whoever asks is remembered."""

    protocol_version = "HTTP/1.1"
    elsewhere = ""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("/redirect/"):
            self.send_response(302)
            self.send_header("Location", self.elsewhere)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000] if self.path == "/broken" else CONTENT)
        self.close_connection = self.path == "/broken"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def origin(host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> Iterator:
    server = ThreadingHTTPServer((host, 0), Origin)
    server.asked = []
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def server_context(ca: CertificateAuthority) -> ssl.SSLContext:
    certificate = ca.issue("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def open_gate():
    gates = []

    def open_(host: str, port: int, **options) -> EgressGate:
        gates.append(EgressGate(host, port, **options))
        return gates[-1]

    yield open_
    for gate in gates:
        gate.close()


def through(gate: EgressGate, **options) -> HttpSession:
    session = HttpSession(**options)
    session.proxies = {"http": gate.url, "https": gate.url}
    return session


def refusal(session: HttpSession, url: str) -> str:
    """What the gate answers, which for TLS is an error of the proxy."""
    try:
        return str(session.get(url).status_code)
    except RequestException as error:
        return str(error)


def test_plain_requests_pass_bit_for_bit_on_one_connection(open_gate):
    with origin() as server:
        gate = open_gate(*server.server_address)
        with through(gate) as session:
            for _ in range(3):
                url = f"http://127.0.0.1:{server.server_port}/a%20b?c=d"
                assert CONTENT == session.get(url).content

        assert ["/a%20b?c=d"] * 3 == server.asked


def test_tls_passes_untouched(open_gate, certificate_authority: CertificateAuthority):
    with origin(context=server_context(certificate_authority)) as server:
        gate = open_gate("localhost", server.server_port)
        with through(gate, ca_file=certificate_authority.ca_file) as session:
            assert CONTENT == session.get(f"https://localhost:{server.server_port}/x").content


def test_a_redirect_to_another_host_reaches_nobody(open_gate):
    """Though obstore follows it."""
    with origin() as victim, origin() as server:
        Origin.elsewhere = f"http://127.0.0.1:{victim.server_port}/latest/meta-data/"
        store = S3Store(
            "redirect",
            endpoint=f"http://127.0.0.1:{server.server_port}",
            skip_signature=True,
            client_options={
                "allow_http": True,
                "proxy_url": open_gate(*server.server_address).url,
            },
            retry_config={"max_retries": 0},
        )
        with pytest.raises(Exception, match="502"):
            obstore.get(store, "x").bytes()

        assert server.asked
        assert [] == victim.asked


def test_without_the_gate_it_would_reach_somebody():
    """So that the test before can fail."""
    with origin() as victim, origin() as server:
        Origin.elsewhere = f"http://127.0.0.1:{victim.server_port}/latest/meta-data/"
        store = S3Store(
            "redirect",
            endpoint=f"http://127.0.0.1:{server.server_port}",
            skip_signature=True,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        assert CONTENT == bytes(obstore.get(store, "x").bytes())

        assert ["/latest/meta-data/"] == victim.asked


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_another_host_is_not_reached(open_gate, scheme):
    with origin() as allowed, origin() as other:
        with through(open_gate(*allowed.server_address)) as session:
            url = f"{scheme}://127.0.0.1:{other.server_port}/"
            assert "502" in refusal(session, url)

        assert [] == other.asked


def test_a_name_that_resolves_to_a_metadata_service_is_not_reached(open_gate, monkeypatch):
    """Decided is on the address that is connected to; there is no second look-up."""
    with origin("127.66.0.1") as server:
        answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", server.server_address)]
        gate = open_gate("s3.example", server.server_port, refuses=lambda a: a == "127.66.0.1")
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **k: answers if host == "s3.example" else real(host, *a, **k),
        )
        with through(gate) as session:
            answer = session.get(f"http://s3.example:{server.server_port}/")

        assert answer.status_code == 502
        assert [] == server.asked


def test_without_the_password_nothing_passes(open_gate):
    with origin() as server:
        gate = urlsplit(open_gate(*server.server_address).url)
        with HttpSession() as session:
            session.proxies = {"http": f"http://gate:wrong@{gate.hostname}:{gate.port}"}
            answer = session.get(f"http://127.0.0.1:{server.server_port}/")

        assert answer.status_code == 502
        assert [] == server.asked


def test_an_answer_that_breaks_off_stays_broken(open_gate):
    """Nothing is put in the place of what is missing."""
    with origin() as server, through(open_gate(*server.server_address)) as session:
        answer = session.get(f"http://127.0.0.1:{server.server_port}/broken", stream=True)

        with pytest.raises(RequestException, match="IncompleteRead\\(1000 bytes read"):
            assert answer.content


def test_a_host_that_is_down_is_told(open_gate):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with through(open_gate("127.0.0.1", port)) as session:
        assert session.get(f"http://127.0.0.1:{port}/").status_code == 502


async def test_obstore_reads_a_real_store_through_it(open_gate, seaweedfs: SeaweedFS):
    """Many objects at once, over connections that are used again."""
    client = s3_client(seaweedfs.endpoint_url)
    for n in range(20):
        client.put_object(Bucket=BUCKET, Key=f"gate/{n}", Body=CONTENT + bytes([n]))
    client.close()
    place = urlsplit(seaweedfs.endpoint_url)
    store = S3Store(
        BUCKET,
        endpoint=seaweedfs.endpoint_url,
        region=REGION,
        access_key_id=ADMIN.access_key_id,
        secret_access_key=ADMIN.secret_access_key.reveal(),
        client_options={
            "allow_http": True,
            "proxy_url": open_gate(place.hostname, place.port).url,
        },
    )

    async def read(n: int) -> bytes:
        return bytes(await (await obstore.get_async(store, f"gate/{n}")).bytes_async())

    contents = await asyncio.gather(*(read(n) for n in range(20)))

    assert [CONTENT + bytes([n]) for n in range(20)] == contents


def test_its_repr_shows_no_password(open_gate):
    assert "<EgressGate to s3.example:443>" == repr(open_gate("s3.example", 443))


class TestWayOut:
    """Who needs the gate."""

    @pytest.mark.parametrize(
        "url", ["https://bucket.s3.eu-west-1.amazonaws.com", "http://10.0.0.1"]
    )
    def test_another_host_is_reached_through_it(self, url: str) -> None:
        assert (way_out(url) or "").startswith("http://gate:")
        assert way_out(url) == way_out(url)

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:8333", "https://localhost", "http://[::1]:1"]
    )
    def test_this_host_is_not(self, url: str) -> None:
        assert way_out(url) is None

    def test_a_proxy_of_the_environment_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
        monkeypatch.setenv("no_proxy", "s3.internal.example")

        assert way_out("https://s3.example") is None
        assert way_out("https://s3.internal.example") is not None
        assert way_out("http://s3.example") is not None


async def test_a_store_of_another_host_is_read_through_the_gate(seaweedfs: SeaweedFS, monkeypatch):
    """The store's own client, as if SeaweedFS were not on this host."""
    monkeypatch.setattr("agent.artifacts.s3.gate.is_loopback", lambda _: False)
    place = S3Place(seaweedfs)
    uri = place.put("x", CONTENT)
    opened = []
    monkeypatch.setattr(
        EgressGate, "_dial", lambda gate, dial=EgressGate._dial: opened.append(gate) or dial(gate)
    )
    monkeypatch.setattr("agent.artifacts.s3.gate.is_metadata", lambda _: False)

    assert CONTENT == await read(place.store, uri)
    assert opened
