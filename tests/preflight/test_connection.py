"""What the check says about the way to the control plane: real servers, proxies, certificates."""

import socket
from datetime import timedelta

import pytest

from agent.preflight.connection import connection_rows
from agent.preflight.rows import Status
from tests.preflight.origin import control_plane, origin
from tests.servers.processes import free_port
from tests.servers.proxies import PASSWORD, microsocks, squid, tinyproxy
from tests.servers.tls import CertificateAuthority

YEAR = timedelta(days=365)


async def test_a_trusted_certificate_passes_with_its_issuer_and_expiry(certificate_authority):
    """And the clock of the same connection."""
    pair = certificate_authority.issue("long-lived", life=YEAR)

    async with origin(pair=pair) as port:
        tls, clock = await connection_rows(
            control_plane(port, ca_file=certificate_authority.ca_file)
        )

    assert (Status.PASS, Status.PASS) == (tls.status, clock.status)
    assert "issued by CN=Test CA" in tls.found


async def test_a_certificate_that_ends_soon_is_a_warning(certificate_authority):
    """Two weeks before it is an outage."""
    pair = certificate_authority.issue("short-lived", life=timedelta(days=13))

    async with origin(pair=pair) as port:
        tls, _ = await connection_rows(control_plane(port, ca_file=certificate_authority.ca_file))

    assert Status.WARN == tls.status


async def test_whoever_inspects_tls_is_named(tmp_path):
    """The issuer of the certificate that is not trusted says which box is in the way."""
    inspector = CertificateAuthority(tmp_path, name="Corporate TLS Inspection")

    async with origin(pair=inspector.issue("fake", life=YEAR)) as port:
        tls, clock = await connection_rows(control_plane(port))

    assert (Status.FAIL, Status.SKIP) == (tls.status, clock.status)
    assert "issued by CN=Corporate TLS Inspection" in tls.found
    assert "control_plane.ca_file" in tls.advice


async def test_a_certificate_for_another_host_fails(certificate_authority):
    """Even when its issuer is trusted."""
    pair = certificate_authority.issue("other", san=["other.example.com"], life=YEAR)

    async with origin(pair=pair) as port:
        tls, _ = await connection_rows(control_plane(port, ca_file=certificate_authority.ca_file))

    assert Status.FAIL == tls.status
    assert "not valid for '127.0.0.1'" in tls.found


async def test_a_missing_client_certificate_is_named(certificate_authority):
    """TLS 1.3 tells us only after the handshake."""
    pair = certificate_authority.issue("mutual", life=YEAR)

    async with origin(pair=pair, client_ca=certificate_authority.ca_file) as port:
        tls, _ = await connection_rows(control_plane(port, ca_file=certificate_authority.ca_file))

    assert Status.FAIL == tls.status
    assert "control_plane.client_certificate" in tls.advice


async def test_mutual_tls_passes(certificate_authority):
    """With a certificate that the server's CA has signed."""
    pair = certificate_authority.issue("mutual", life=YEAR)
    client = dict(zip(("cert_file", "key_file"), certificate_authority.issue("us"), strict=True))
    trust = {"ca_file": certificate_authority.ca_file, "client_certificate": client}

    async with origin(pair=pair, client_ca=certificate_authority.ca_file) as port:
        rows = await connection_rows(control_plane(port, **trust))

    assert [Status.PASS, Status.PASS] == [row.status for row in rows]


@pytest.mark.parametrize(
    ("ahead", "status", "found"),
    [
        (timedelta(seconds=-10), Status.PASS, "ahead of"),
        (timedelta(seconds=100), Status.WARN, "behind"),
        (timedelta(seconds=-1000), Status.FAIL, "ahead of"),
    ],
)
async def test_a_clock_that_is_off_is_found(ahead, status, found):
    """Measured against the Date header."""
    async with origin(ahead=ahead) as port:
        _, clock = await connection_rows(
            control_plane(port, url=f"ws://127.0.0.1:{port}/agent/v1/connect")
        )

    assert status == clock.status
    assert found in clock.found


async def test_a_control_plane_that_is_down_fails():
    """With the address that was tried."""
    port = free_port()

    tls, _ = await connection_rows(control_plane(port))

    assert Status.FAIL == tls.status
    assert str(port) in tls.found


async def test_a_control_plane_that_says_nothing_fails_in_time():
    """A connection that is accepted and then left alone does not hang the check."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        tls, _ = await connection_rows(control_plane(port), seconds=0.2)

    assert Status.FAIL == tls.status
    assert "no connection within 0.2 s" in tls.found


@pytest.mark.proxy
@pytest.mark.parametrize("start", [squid, tinyproxy, microsocks])
async def test_a_proxy_with_a_password_is_used(certificate_authority, start):
    """HTTP and SOCKS; TLS goes through it end to end."""
    pair = certificate_authority.issue("long-lived", life=YEAR)
    with start() as proxy:
        async with origin(pair=pair) as port:
            rows = await connection_rows(
                control_plane(port, ca_file=certificate_authority.ca_file, proxy=proxy.url())
            )

    assert [Status.PASS, Status.PASS] == [row.status for row in rows]


@pytest.mark.proxy
@pytest.mark.parametrize("start", [tinyproxy, microsocks])
async def test_a_proxy_that_refuses_us_fails_without_its_password(start):
    """The row names the proxy as the culprit, and shows no part of the login."""
    with start() as proxy:
        rows = await connection_rows(control_plane(443, proxy=proxy.url(user="nobody")))

    assert Status.FAIL == rows[0].status
    assert "the proxy did not connect us" in rows[0].found
    assert PASSWORD not in str(rows)


async def test_something_that_speaks_no_tls_is_named():
    """As a port of plain HTTP, or a captive portal."""
    async with origin() as port:
        tls, _ = await connection_rows(control_plane(port))

    assert Status.FAIL == tls.status
    assert "TLS failed" in tls.found
