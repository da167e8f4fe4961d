"""What travels at a connect: the proof, the hello, the welcome."""

import asyncio
import base64
import functools
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from structlog.testing import capture_logs

from agent.link import link as link_module
from agent.telemetry import metrics
from tests.doubles.scripted_control_plane import ScriptedLink, Work, running, wire_frame
from tests.link.agents import connecting, new_link
from tests.waiting import until


def part(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_the_hello_introduces_the_instance_and_its_jobs(identity):
    """Byte for byte what the protocol's page shows, and nothing besides."""
    async with running() as plane, connecting(plane.url, identity) as agent:
        await agent.up()

    assert plane.links[0].hello == {
        "type": "hello",
        "protocols": [1],
        "agent": "prod-eu",
        "instance": identity.instance,
        "version": "9.9.9",
        "labels": {"region": "lab"},
        "capabilities": ["job:fetch-artifact"],
        "posture": {"max_concurrent_jobs": 3},
        "received": 0,
        "jobs": [],
        "draining": False,
    }


async def test_a_welcome_brings_the_link_up(identity):
    """In its own words, in the log and in the metric."""
    with capture_logs() as logs:
        async with running() as plane, connecting(plane.url, identity) as agent:
            await agent.up()

            assert metrics.link_up._value.get() == 1
            assert agent.link.last_refusal is None
            assert agent.work.sessions == [[]]

    assert {"event": "link.up", "session": "s-1", "resumed": False, "log_level": "info"} in logs
    assert metrics.link_up._value.get() == 0


async def test_every_connect_brings_a_proof_that_holds(identity):
    """Header and claims are exact, the signature is that of the registered key."""

    async def cut(link: ScriptedLink) -> None:
        link.cut()

    async with running(cut) as plane, connecting(plane.url, identity) as agent:
        await agent.up()
    proofs = [
        request.headers["Authorization"].removeprefix("Bearer ") for request in plane.requests
    ]

    for proof in proofs:
        signed, signature = proof.rsplit(".", 1)
        key = Ed25519PublicKey.from_public_bytes(part(identity.public_key))
        key.verify(part(signature), signed.encode())
        header, claims = (json.loads(part(text)) for text in signed.split("."))
        times = (claims.pop("iat"), claims.pop("exp"))
        nonces = claims.pop("jti")
        assert header == {
            "alg": "EdDSA", "typ": "cloud-agent-proof+jwt", "kid": identity.instance,
        }  # fmt: skip
        assert claims == {"iss": identity.instance, "sub": "prod-eu", "aud": plane.url}
        assert abs(times[0] - time.time()) < 5
        assert times[1] - times[0] == 60
        assert len(nonces) >= 16
    assert len(set(proofs)) == 2


async def test_no_proof_is_used_twice(identity):
    """A control plane that remembers numbers refuses a second use."""

    async def cut(link: ScriptedLink) -> None:
        link.cut()

    async with running(cut, cut, cut) as plane, connecting(plane.url, identity) as agent:
        await agent.up()

    proofs = [request.headers["Authorization"].split(".")[1] for request in plane.requests]
    assert len({json.loads(part(claims))["jti"] for claims in proofs}) == 4


async def test_the_request_line_holds_no_credential_and_offers_no_extension(identity):
    """URLs end up in the logs of others; without permessage-deflate there is no bomb to defuse."""
    async with running() as plane, connecting(plane.url, identity) as agent:
        await agent.up()
    (request,) = plane.requests

    assert request.path == "/agent/v1/connect"
    assert request.headers["User-Agent"] == "cloud-agent/9.9.9"
    assert request.headers["Sec-WebSocket-Protocol"] == "cloud-agent.v1"
    assert "Sec-WebSocket-Extensions" not in request.headers


@pytest.mark.parametrize(
    "answer",
    [
        {"protocol": 2},
        {"protocol": 0},
        {"resumed": True},
        {"resumed": True, "session": "s-9"},
        {"heartbeat_s": 0},
        {"limits": {"window_bytes": 1}},
        {"session": ""},
    ],
)
async def test_a_welcome_that_we_cannot_keep_is_refused(identity, answer):
    """Another version, a session we never had: closed as a broken protocol, then tried again."""

    async def script(link: ScriptedLink) -> None:
        await link.greet(**answer)
        assert await link.end() == (4000, '{"reason":"protocol_error"}')

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await agent.up()

        assert len(plane.requests) == 2
        assert len(agent.work.sessions) == 1


async def test_anything_before_the_welcome_is_refused(identity):
    """No job is taken from somebody who has not greeted."""

    async def script(link: ScriptedLink) -> None:
        await link.request("j-1", seq=1)
        assert (await link.end())[0] == 4000

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await agent.up()

        assert agent.work.delivered == []


async def test_a_control_plane_that_never_welcomes_is_left(identity, monkeypatch):
    """And the time it kept us waiting does not count as a connection that lasted."""
    monkeypatch.setattr(link_module, "GREETING_TIMEOUT", 0.1)

    async def script(link: ScriptedLink) -> None:
        await link.stay()

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await agent.up()

    assert plane.ended[0] == (4008, '{"reason":"heartbeat_lost"}')
    assert agent.backoff.asked[0].lasted == 0


async def test_a_link_that_is_ended_hangs_up(identity):
    """The control plane sees a close frame: going away."""
    async with running() as plane:
        async with connecting(plane.url, identity) as agent:
            await agent.up()
        await until(lambda: plane.ended)

    assert plane.ended == [(1001, "")]


class CancelledMeanwhile(Work):
    """Cancels the link some turns of the loop after a job came in."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.turns = turns
        self.task: asyncio.Task[None] | None = None

    def deliver(self, message: object) -> None:
        self._turn(self.turns)

    def _turn(self, left: int) -> None:
        step = functools.partial(self._turn, left - 1) if left else self.task.cancel
        asyncio.get_running_loop().call_soon(step)


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("ending", [b"\x88\x02\x03\xe8", b"\x81\x02no"], ids=["close", "garbage"])
async def test_it_can_be_ended_while_it_ends_by_itself(identity, ending, turns):
    """However the two coincide, the agent that shuts down does not hang."""
    work = CancelledMeanwhile(turns)

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        request = b'{"type":"job.request","seq":1,"job":"j-1","kind":"k"}'
        link.write_raw(wire_frame(request) + ending)
        await link.stay()

    async with running(script) as plane:
        work.task = asyncio.create_task(new_link(plane.url, identity).run(work))
        await asyncio.wait({work.task}, timeout=3)

        assert work.task.cancelled()
