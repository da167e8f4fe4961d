"""Rows 8 to 10 of the threat model: no log of the link shows a credential, at any level."""

import base64
import logging

import pytest

from agent.errors import LinkRefused
from agent.link.dial import Endpoint
from agent.link.enrolment import enroll
from agent.telemetry import logs
from tests.doubles.scripted_control_plane import Answer, ScriptedLink, Work, running, server_tls
from tests.link.agents import connecting, new_link
from tests.servers.proxies import PASSWORD, USER, microsocks, squid
from tests.waiting import until

TOKEN = "cajt_canary-of-a-test"
TALKATIVE = ("websockets", "websockets.client", "asyncio")


@pytest.fixture
def everything_logged():
    """Our log at debug, and the libraries' loggers as talkative as they get."""
    root = logging.getLogger()
    before = ([*root.handlers], root.level)
    logs.configure("debug", "json", lambda text: text)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET)
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)
    logs.configure("info", "json", lambda text: text)


async def enrolled(link: ScriptedLink) -> None:
    frame = await link.receive()
    await link.send("enrolled", agent=frame["agent"], instance=frame["instance"])


async def refused(link: ScriptedLink) -> None:
    await link.receive()
    await link.connection.close(4402)


async def cut(link: ScriptedLink) -> None:
    await link.greet()
    link.cut()


@pytest.mark.proxy
@pytest.mark.parametrize("kind", [squid, microsocks], ids=lambda kind: kind.__name__)
async def test_a_whole_life_shows_no_credential(
    kind, identity, certificate_authority, everything_logged, capfd
):
    """Enrolled, refused, cut and welcomed, through a proxy with a password and with TLS."""
    tls = server_tls(certificate_authority.issue("plane"))
    attempts = [enrolled, refused, Answer(401), cut]

    with kind() as proxy:
        async with running(*attempts, tls=tls) as plane:
            endpoint = Endpoint(plane.url, ca_file=certificate_authority.ca_file, proxy=proxy.url())
            await enroll(endpoint, identity, TOKEN, version="1")
            with pytest.raises(LinkRefused):
                await enroll(endpoint, identity, TOKEN, version="1")
            async with connecting(endpoint, identity) as agent:
                await until(lambda: len(plane.links) == 4)
                await agent.up()

    out, err = capfd.readouterr()
    for secret in secrets(plane):
        assert secret not in out + err
    assert "link.up" in err


def secrets(plane) -> list[str]:
    """Every credential that was used, as it was sent."""
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    proofs = [request.headers["Authorization"].split()[1] for request in plane.requests]
    assert len(proofs) == 5
    return [*proofs, *(proof.split(".")[2] for proof in proofs), PASSWORD, login, TOKEN]


class Broken(Exception):
    """A bug in the jobs."""


class BrokenWork(Work):
    def deliver(self, message):
        raise Broken


async def test_a_crash_shows_no_credential_either(identity, everything_logged, capfd):
    """A bug of ours is loud: it ends the link, and its traceback shows no local variable."""

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        await link.request("j-1", seq=1)
        await link.stay()

    async with running(script) as plane:
        link = new_link(plane.url, identity)
        with pytest.raises(ExceptionGroup) as crash:
            await link.run(BrokenWork())
        logs.get_logger().error("link.crashed", exc_info=crash.value)

    err = capfd.readouterr().err
    assert "Broken" in err
    assert plane.requests[0].headers["Authorization"].split()[1] not in err
