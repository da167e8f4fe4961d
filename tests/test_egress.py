"""Nothing connects to a metadata service, whatever name or notation led there."""

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from agent.egress import EgressRefused, guard, is_metadata, metadata_allowed
from agent.http_session import HttpSession, RequestException

METADATA = "169.254.169.254"
WRAPPED = [
    f"::ffff:{METADATA}",
    f"::{METADATA}",
    f"::ffff:0:{METADATA}",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00::",
    "2002:a9fe:a9fe::1",
]


@pytest.fixture(autouse=True)
def _guarded() -> None:
    guard()


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [METADATA, "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16",
         "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fe80::1", "fe80::1%eth0",
         *WRAPPED],
    )  # fmt: skip
    def test_metadata_is_known_in_every_form(self, address: str) -> None:
        assert is_metadata(address)

    @pytest.mark.parametrize("text", ["0xA9FEA9FE", "2852039166", "169.254.43518", "0251.0376.0.1"])
    def test_what_is_no_address_counts_as_one(self, text: str) -> None:
        """`getaddrinfo` makes the metadata address of some of these."""
        assert is_metadata(text)

    @pytest.mark.parametrize(
        "address",
        ["127.0.0.1", "10.0.0.1", "192.168.1.1", "100.100.100.201", "52.1.2.3", "::1",
         "fd12:3456::1", "2606:4700::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"],
    )  # fmt: skip
    def test_a_customers_network_is_reached(self, address: str) -> None:
        assert not is_metadata(address)


class Forbidden:
    """A server at an address that counts as a metadata service, and says whom it heard of."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.66.0.1", 0))
        self.host, self.port = self.listener.getsockname()
        self.listener.setblocking(False)

    @property
    def heard(self) -> bool:
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[Forbidden]:
    monkeypatch.setattr("agent.egress._FORBIDDEN", (ip_network("127.66.0.0/16"),))
    server = Forbidden()
    yield server
    server.listener.close()


class TestConnecting:
    @pytest.mark.parametrize("name", ["127.66.0.1", "0x7F420001", "2135031809", "0177.66.1"])
    def test_decided_is_on_the_address_that_is_connected_to(
        self, forbidden: Forbidden, name: str
    ) -> None:
        with pytest.raises(EgressRefused, match="a metadata service"):
            socket.create_connection((name, forbidden.port), timeout=1)

        assert not forbidden.heard

    @pytest.mark.parametrize("address", ["::ffff:127.66.0.1", "64:ff9b::7f42:1"])
    def test_so_is_one_that_ipv6_wraps(self, forbidden: Forbidden, address: str) -> None:
        with socket.socket(socket.AF_INET6) as one, pytest.raises(EgressRefused):
            one.connect((address, forbidden.port))

        assert not forbidden.heard

    def test_a_name_that_changes_its_address_is_refused(
        self, forbidden: Forbidden, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first answer is harmless; what counts is what the second one leads to."""
        answers = iter(["127.0.0.1", forbidden.host])

        def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), forbidden.port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        checked = resolve()[0][4]

        assert isinstance(checked, tuple)
        assert not is_metadata(str(checked[0]))
        with pytest.raises(EgressRefused):
            socket.create_connection(("rebinding.example", forbidden.port), timeout=1)
        assert not forbidden.heard

    async def test_the_event_loop_is_refused(self, forbidden: Forbidden) -> None:
        with pytest.raises(EgressRefused):
            await asyncio.open_connection(forbidden.host, forbidden.port)

        assert not forbidden.heard

    async def test_only_who_may_is_let_through(self, forbidden: Forbidden) -> None:
        """In the threads that he starts, too."""

        def connect() -> None:
            socket.create_connection((forbidden.host, forbidden.port), timeout=1).close()

        with metadata_allowed():
            await asyncio.to_thread(connect)
        assert forbidden.heard

        with pytest.raises(EgressRefused):
            await asyncio.to_thread(connect)
        assert not forbidden.heard

    def test_requests_is_refused(self, forbidden: Forbidden) -> None:
        """As all that connects in Python: boto3, hvac, Google's and Azure's libraries use it."""
        with HttpSession() as session, pytest.raises(RequestException, match="a metadata service"):
            session.get(f"http://{forbidden.host}:{forbidden.port}/latest/meta-data/")

        assert not forbidden.heard

    async def test_aiohttp_on_uvloop_is_refused(self, forbidden: Forbidden) -> None:
        """Kubernetes is reached so. What connects by libuv itself, as the link, is not watched."""
        program = f"""
import ipaddress, aiohttp, uvloop
from agent import egress
egress._FORBIDDEN = (ipaddress.ip_network("127.66.0.0/16"),)
egress.guard()
async def main():
    async with aiohttp.ClientSession() as session:
        try:
            await session.get("http://{forbidden.host}:{forbidden.port}/")
        except aiohttp.ClientConnectorError as error:
            print(error)
uvloop.run(main())
"""
        ran = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=PIPE)
        out, _ = await ran.communicate()

        assert b"a metadata service" in out
        assert not forbidden.heard
