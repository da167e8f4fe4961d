"""The control plane that was written from the README turns away whom the README says it must."""

import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.identity import Identity, instance_of
from agent.protocol.messages import SUBPROTOCOL
from tests.protocol.minimal_control_plane import MinimalControlPlane


@pytest.fixture
def identity():
    key = Ed25519PrivateKey.generate()
    return Identity("prod-eu", instance_of(key.public_key().public_bytes_raw()), key)


@pytest.fixture
async def plane(identity):
    """A control plane at which the identity is registered."""
    async with MinimalControlPlane() as plane:
        key = identity._key.public_key().public_bytes_raw()
        plane.register.keys[identity.instance] = (identity.agent, key)
        yield plane


def dialled(plane: MinimalControlPlane, proof: str) -> connect:
    headers = {"Authorization": f"Bearer {proof}"}
    return connect(plane.url, additional_headers=headers, subprotocols=[SUBPROTOCOL], proxy=None)


async def refusal(plane: MinimalControlPlane, proof: str) -> str:
    with pytest.raises(InvalidStatus) as refused:
        await dialled(plane, proof)
    return json.loads(refused.value.response.body)["reason"]


async def welcomed(socket: ClientConnection, identity: Identity, **session: object) -> dict:
    """Greet; return the welcome."""
    names = {"agent": identity.agent, "instance": identity.instance, "version": "0"}
    await socket.send(json.dumps({"type": "hello", "protocols": [1], **names, **session}))
    return json.loads(await socket.recv())


async def test_a_proof_is_good_once(plane, identity):
    proof = identity.proof(plane.url, now=time.time(), nonce="n")

    async with dialled(plane, proof) as socket:
        assert (await welcomed(socket, identity))["resumed"] is False
    assert "identity_rejected" == await refusal(plane, proof)


async def test_a_proof_for_another_place_is_refused(plane, identity):
    elsewhere = "wss://cloud.example.com/agent/v1/connect"

    proof = identity.proof(elsewhere, now=time.time(), nonce="n")

    assert "identity_rejected" == await refusal(plane, proof)


async def test_an_old_proof_is_called_a_matter_of_clocks(plane, identity):
    proof = identity.proof(plane.url, now=time.time() - 301, nonce="n")

    assert "clock_skew" == await refusal(plane, proof)


async def test_a_revoked_instance_is_told_so(plane, identity):
    plane.register.revoked.add(identity.instance)

    proof = identity.proof(plane.url, now=time.time(), nonce="n")

    assert "revoked" == await refusal(plane, proof)


async def test_a_frame_that_cannot_be_taken_ends_the_session(plane, identity):
    proofs = [identity.proof(plane.url, now=time.time(), nonce=nonce) for nonce in "ab"]

    async with dialled(plane, proofs[0]) as socket:
        session = (await welcomed(socket, identity))["session"]
        await socket.send(b"\x01 no header")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert 4000 == closed.value.rcvd.code
    async with dialled(plane, proofs[1]) as socket:
        assert (await welcomed(socket, identity, session=session))["resumed"] is False
