"""Registers an agent's public key for a one-time join token. Enrolled agents are met in `link`."""

import asyncio
import hashlib
import time

import structlog
from aiohttp import WSMsgType, web

from agent.errors import ProtocolError
from agent.protocol.codec import decode, encode
from agent.protocol.messages import FROM_AGENT, Enroll, Enrolled
from control_plane_stub.agents.identity import Proof, Verifier, decode_base64url
from control_plane_stub.agents.recording import Recorder
from control_plane_stub.agents.refusals import Refused, close_with
from control_plane_stub.storage.store import Enrolment, Store

log = structlog.get_logger()

ENROLL_TIMEOUT = 10.0
KEY_BYTES = 32


class Enroller:
    """Answers one `Enroll` per connection; a token registers one key."""

    def __init__(self, store: Store, verifier: Verifier, recorder: Recorder | None) -> None:
        self._store = store
        self._verifier = verifier
        self._recorder = recorder

    async def run(self, ws: web.WebSocketResponse, proof: Proof, *, host: str, path: str) -> None:
        """Take the message, answer it, and close *ws*; a refusal is the reason of the close."""
        try:
            async with asyncio.timeout(ENROLL_TIMEOUT):
                wanted = _wanted(await self._receive(ws), proof)
            self._verifier.verify(proof, public_key=wanted.public_key, host=host, path=path)
            await self._register(wanted)
        except TimeoutError:
            await close_with(ws, "heartbeat_lost")
        except ProtocolError as error:
            await close_with(ws, error.reason)
        except Refused as refused:
            log.warning("enrolment.refused", agent=proof.agent, reason=refused.reason)
            await close_with(ws, refused.reason, retry_after=refused.retry_after)
        else:
            log.info("instance.enrolled", agent=wanted.agent, instance=wanted.instance)
            await self._answer(ws, wanted)

    async def _register(self, wanted: Enrolment) -> None:
        if not await self._store.enroll(wanted, now=time.time()):
            raise Refused("join_token_rejected")

    async def _receive(self, ws: web.WebSocketResponse) -> Enroll:
        received = await ws.receive()
        if received.type is not WSMsgType.TEXT:
            raise ProtocolError("the first frame is not enroll")
        message = decode(received.data, FROM_AGENT)
        if not isinstance(message, Enroll):
            raise ProtocolError("the first frame is not enroll")
        if self._recorder is not None:
            shown = message.model_copy(update={"join_token": "(not recorded)"})
            self._recorder.frame("in", encode(shown))
        return message

    async def _answer(self, ws: web.WebSocketResponse, wanted: Enrolment) -> None:
        text = encode(Enrolled(agent=wanted.agent, instance=wanted.instance))
        if self._recorder is not None:
            self._recorder.frame("out", text)
        try:
            await ws.send_str(text)
        except ConnectionError:
            # It comes again with the same token and key.
            return
        await ws.close()


def _wanted(message: Enroll, proof: Proof) -> Enrolment:
    if (message.agent, message.instance) != (proof.agent, proof.instance):
        raise Refused("identity_rejected")
    try:
        key = decode_base64url(message.public_key)
    except ValueError:
        raise Refused("identity_rejected") from None
    if len(key) != KEY_BYTES or message.instance != _name_of(key):
        raise Refused("identity_rejected")
    return Enrolment(message.agent, message.instance, key, message.join_token)


def _name_of(key: bytes) -> str:
    """Return the one instance that *key* may register: a token must not replace another's key."""
    return "i-" + hashlib.sha256(key).hexdigest()[:20]
