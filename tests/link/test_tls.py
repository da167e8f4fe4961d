"""Whom the link trusts, and what it says when it does not."""

import shutil
import ssl
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from agent.errors import UsageError
from agent.link.dial import DialFailed, Endpoint, dial, hang_up, tls_context
from tests.doubles.scripted_control_plane import running, server_tls
from tests.link.agents import connecting
from tests.servers.processes import free_port
from tests.servers.tls import CertificateAuthority
from tests.waiting import until


async def refusal(endpoint: Endpoint) -> DialFailed:
    with pytest.raises(DialFailed) as failed:
        await dial(endpoint, {"Authorization": "Bearer proof"}, version="1")
    return failed.value


@pytest.fixture
def ca(certificate_authority):
    return certificate_authority


async def test_a_private_ca_is_trusted_where_it_is_configured(ca, identity):
    async with running(tls=server_tls(ca.issue("plane"))) as plane:
        async with connecting(Endpoint(plane.url, ca_file=ca.ca_file), identity) as agent:
            await agent.up()

    assert plane.url.startswith("wss://")


async def test_an_unknown_ca_is_not_trusted(ca):
    """Typically a box that inspects TLS; the proof does not reach it."""
    async with running(tls=server_tls(ca.issue("plane"))) as plane:
        failed = await refusal(Endpoint(plane.url))

    assert failed.outcome == "tls"
    assert "control_plane.ca_file" in str(failed)
    assert plane.requests == []


async def test_a_configured_ca_is_the_only_one(ca, tmp_path):
    """Another private CA of the same house does not help."""
    other = CertificateAuthority(tmp_path)

    async with running(tls=server_tls(other.issue("plane"))) as plane:
        assert (await refusal(Endpoint(plane.url, ca_file=ca.ca_file))).outcome == "tls"

    assert plane.requests == []


@pytest.mark.parametrize(
    ("san", "life", "says"),
    [
        (["other.example.com"], timedelta(days=1), "not valid for '127.0.0.1'"),
        (["127.0.0.1"], timedelta(days=-1), "expired"),
    ],
)
async def test_the_name_and_the_dates_count(ca, san, life, says):
    pair = ca.issue("wrong", san=san, life=life)

    async with running(tls=server_tls(pair)) as plane:
        failed = await refusal(Endpoint(plane.url, ca_file=ca.ca_file))

    assert failed.outcome == "tls"
    assert says in str(failed)
    assert plane.requests == []


async def test_tls_below_1_2_is_refused(ca):
    """Whatever the other side would be content with."""
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old = server_tls(ca.issue("plane"), newest=ssl.TLSVersion.TLSv1_1)
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    old.set_ciphers("ALL:@SECLEVEL=0")

    async with running(tls=old) as plane:
        failed = await refusal(Endpoint(plane.url, ca_file=ca.ca_file))

    assert failed.outcome == "tls"
    assert plane.requests == []


def test_the_context_itself_says_so(ca):
    context = tls_context(Endpoint("wss://x/", ca_file=ca.ca_file))

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


async def test_mutual_tls(ca, identity):
    cert_file, key_file = ca.issue("agent")
    tls = server_tls(ca.issue("plane"), client_ca=ca.ca_file)

    async with running(tls=tls) as plane:
        endpoint = Endpoint(plane.url, ca.ca_file, cert_file, key_file)
        async with connecting(endpoint, identity) as agent:
            await agent.up()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_missing_client_certificate_is_named(ca, newest):
    """TLS 1.3 tells us only after the handshake."""
    tls = server_tls(ca.issue("plane"), client_ca=ca.ca_file, newest=newest)

    async with running(tls=tls) as plane:
        failed = await refusal(Endpoint(plane.url, ca_file=ca.ca_file))

    assert failed.outcome == "tls"
    assert "control_plane.client_certificate" in str(failed)


async def test_a_plain_server_behind_wss_is_no_crash(ca):
    async with running() as plane:
        url = plane.url.replace("ws://", "wss://")
        failed = await refusal(Endpoint(url, ca_file=ca.ca_file))

    assert failed.outcome == "tls"
    assert plane.requests == []


async def test_a_tls_server_behind_ws_is_no_crash(ca):
    async with running(tls=server_tls(ca.issue("plane"))) as plane:
        failed = await refusal(Endpoint(plane.url.replace("wss://", "ws://")))

    assert failed.outcome == "protocol"


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_certificate_file_that_is_none_is_named(tmp_path, ca, content):
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_text(content)

    for endpoint in (
        Endpoint("wss://x/", ca_file=path),
        Endpoint("wss://x/", ca_file=ca.ca_file, cert_file=path, key_file=path),
    ):
        with pytest.raises(UsageError, match="ca_file or client_certificate can't be used"):
            tls_context(endpoint)


def test_a_key_of_another_certificate_is_named(ca):
    cert_file, _ = ca.issue("one")
    _, key_file = ca.issue("two")

    with pytest.raises(UsageError, match="belongs to the certificate"):
        tls_context(Endpoint("wss://x/", ca.ca_file, cert_file, key_file))


async def test_certificate_files_may_be_away_for_a_while(ca, identity, tmp_path):
    """They are rotated under a running agent: that is an error in the log and one more try."""
    cert_file, key_file = ca.issue("agent")
    moved = tmp_path / "agent.pem"
    tls = server_tls(ca.issue("plane"), client_ca=ca.ca_file)

    with capture_logs() as logs:
        async with running(tls=tls) as plane:
            endpoint = Endpoint(plane.url, ca.ca_file, moved, key_file)
            async with connecting(endpoint, identity) as agent:
                await until(lambda: agent.task.done() or len(agent.backoff.asked) >= 3)
                shutil.copy(cert_file, moved)
                await agent.up()

    down = next(entry for entry in logs if entry["event"] == "link.down")
    assert (down["log_level"], down["reason"]) == ("error", "tls")
    assert "client_certificate" in down["message"]
    assert not agent.backoff.asked[0].final


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        ("ws://control-plane.invalid/x", "dns"),
        ("ws://a..b/x", "dns"),
        (f"ws://{'a' * 64}.example/x", "dns"),
        (f"ws://127.0.0.1:{free_port()}/x", "unreachable"),
        (f"ws://localhost:{free_port()}/x", "unreachable"),
    ],
)
async def test_an_address_that_leads_nowhere_has_its_outcome(url, outcome):
    """And the text says what was tried."""
    failed = await refusal(Endpoint(url))

    assert failed.outcome == outcome
    assert "control_plane.url" in str(failed) or "Connect call failed" in str(failed)


async def test_hanging_up_is_idempotent():
    async with running() as plane:
        connection = await dial(Endpoint(plane.url), {}, version="1")
        await hang_up(connection)
        await hang_up(connection, code=1001)
    assert connection.close_code == 1000
