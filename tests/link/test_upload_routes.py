"""Uploads go where the link goes, and nowhere else: same host, proxy, trust and certificate."""

import os
import shutil

import pytest
from structlog.testing import capture_logs

from agent.identity import Identity
from agent.link import upload
from agent.link.dial import Endpoint
from agent.protocol.messages import UploadOffer
from tests.doubles.scripted_control_plane import ScriptedLink, running, server_tls
from tests.doubles.upload_server import UploadServer, upload_server
from tests.link.agents import connecting
from tests.link.test_uploads import OFFER, Sender, new_uploads, threads
from tests.servers.proxies import microsocks, squid, tinyproxy
from tests.waiting import until

CONTENT = os.urandom(500_000)


async def uploaded(endpoint: Endpoint, identity: Identity, offer: UploadOffer = OFFER) -> Sender:
    """Upload `CONTENT`; return what did it."""
    uploads = new_uploads(endpoint, identity)
    uploads.welcome(offer)
    sender = Sender(uploads)
    async with sender.linked():
        await sender.send(CONTENT)
    uploads.close()
    await until(lambda: not threads())
    return sender


@pytest.fixture
def ca(certificate_authority):
    return certificate_authority


def endpoint(server: UploadServer, **how) -> Endpoint:
    return Endpoint(server.url, **how)


@pytest.mark.proxy
@pytest.mark.parametrize("kind", [squid, tinyproxy, microsocks], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("secure", [True, False])
async def test_an_upload_goes_through_the_proxy_of_the_link(ca, identity, kind, secure):
    """With TLS from end to end: the proxy learns host and port, and never sees the proof."""
    tls = server_tls(ca.issue("plane")) if secure else None
    async with upload_server(tls=tls) as server:
        with kind() as proxy:
            how = {"proxy": proxy.url(), "ca_file": ca.ca_file if secure else None}
            sender = await uploaded(endpoint(server, **how), identity)
            await until(lambda: proxy.asked_for(server.port))
            seen = proxy.access_log.read_text()

    assert CONTENT == server.content
    assert ["upload"] == sender.frames()[0]
    proofs = {request.headers["Authorization"].split()[1] for request in server.requests}
    assert not [proof for proof in proofs if proof in seen]
    assert "Proxy-Authorization" not in server.requests[0].headers


@pytest.mark.proxy
async def test_the_environment_names_the_proxy_of_uploads_too(identity, monkeypatch):
    with squid() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        async with upload_server() as server:
            await uploaded(endpoint(server), identity)
            await until(lambda: proxy.asked_for(server.port))

    assert CONTENT == server.content


@pytest.mark.proxy
async def test_a_proxy_that_refuses_sends_the_content_in_blocks(identity, monkeypatch):
    """And the log shows no password."""
    monkeypatch.setattr(upload, "FRUITLESS", 1)
    with squid() as proxy, capture_logs() as logs:
        async with upload_server() as server:
            url = proxy.url(password="hunter-2")
            sender = await uploaded(endpoint(server, proxy=url), identity)

    assert (0, ["upload", None]) == (server.connections, sender.frames()[0])
    assert "upload.given_up" in [line["event"] for line in logs]
    assert "hunter-2" not in str(logs)


async def test_an_upload_presents_the_certificate_of_the_link(ca, identity):
    tls = server_tls(ca.issue("plane"), client_ca=ca.ca_file)
    cert_file, key_file = ca.issue("agent")
    async with upload_server(tls=tls) as server:
        how = {"ca_file": ca.ca_file, "cert_file": cert_file, "key_file": key_file}
        await uploaded(endpoint(server, **how), identity)

    assert CONTENT == server.content


@pytest.mark.parametrize("trust", ["another CA", "no certificate of ours"])
async def test_who_is_not_trusted_gets_no_byte(ca, identity, monkeypatch, trust):
    """Then all goes over the link, which trusts the same."""
    monkeypatch.setattr(upload, "FRUITLESS", 1)
    client_ca = ca.ca_file if trust != "another CA" else None
    async with upload_server(tls=server_tls(ca.issue("plane"), client_ca=client_ca)) as server:
        how = {"ca_file": ca.ca_file} if client_ca else {}
        sender = await uploaded(endpoint(server, **how), identity)

    assert (b"", [], ["upload", None]) == (server.content, server.requests, sender.frames()[0])
    assert CONTENT == b"".join(data for _, data in sender.frames()[1])


async def test_a_certificate_that_is_gone_sends_the_content_in_blocks(ca, identity, tmp_path):
    """Certificates are rotated under a running agent; each connection reads them anew."""
    shutil.copy(ca.ca_file, tmp_path / "ca.pem")
    async with upload_server(tls=server_tls(ca.issue("plane"))) as server:
        where = endpoint(server, ca_file=tmp_path / "ca.pem")
        first = await uploaded(where, identity)
        (tmp_path / "ca.pem").unlink()
        second = await uploaded(where, identity)

    assert [["upload"], ["upload", None]] == [first.frames()[0], second.frames()[0]]


@pytest.mark.parametrize(
    "path", ["https://127.0.0.1:1/up", "//127.0.0.1:1/up", "/../up", "/up?x=y", "", 7, None]
)
async def test_a_welcome_that_names_another_host_breaks_the_protocol(identity, path):
    """So nothing that a control plane says sends content anywhere else."""

    async def names_another(link: ScriptedLink) -> None:
        await link.greet(upload={"path": path})
        await link.stay()

    async with running(names_another) as plane, connecting(plane.url, identity) as agent:
        await until(lambda: plane.ended)
        await agent.up()

    assert 4000 == plane.ended[0][0]
