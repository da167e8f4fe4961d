"""The two endpoints of agents: who may upgrade, and what happens then."""

import asyncio
import time
from collections.abc import Callable

import structlog
from aiohttp import web

from agent.protocol.codec import MAX_TEXT_BYTES
from agent.protocol.messages import CONNECT_PATH, ENROLL_PATH, SUBPROTOCOL
from control_plane_stub.agents.enrolment import Enroller
from control_plane_stub.agents.faults import Fault
from control_plane_stub.agents.identity import Verifier, read_proof
from control_plane_stub.agents.instance import LIMITS, Instance
from control_plane_stub.agents.link import AgentLink
from control_plane_stub.agents.refusals import Refused, refusal_response
from control_plane_stub.agents.uploads import UploadDesk
from control_plane_stub.plane import ControlPlane

log = structlog.get_logger()

LARGEST_FRAME = max(MAX_TEXT_BYTES, LIMITS.block_bytes) + 4096
CLOSE_TIMEOUT = 2.0


class Gate:
    """Lets agents in whose key is registered, and keys for which there is a join token.

    With *require_certificate* the connection must also carry a certificate of the client CA.
    """

    def __init__(
        self, plane: ControlPlane, *, require_certificate: bool, public_host: str | None = None
    ) -> None:
        self._plane = plane
        self._public_host = public_host
        self._require_certificate = require_certificate
        self._verifier = Verifier()
        self._enroller = Enroller(plane.store, self._verifier, plane.recorder)
        self._desk = UploadDesk(plane.inbox, plane.faults, plane.recorder)
        self._links: dict[AgentLink, Instance] = {}
        self._restarting = False

    def add_to(self, app: web.Application) -> None:
        app.router.add_route("GET", CONNECT_PATH, self.connect)
        app.router.add_route("GET", ENROLL_PATH, self.enroll)
        if self._plane.upload is not None:
            app.router.add_route("PUT", f"{self._plane.upload.path}/{{job}}", self.upload)

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Check the proof, upgrade, and talk until the link ends."""
        try:
            ws = self._offered(request)
            instance = await self._admit(request, self._plane.faults.refusal)
        except Refused as refused:
            log.warning("link.refused", reason=refused.reason)
            return refusal_response(refused)
        await ws.prepare(request)
        assert request.transport is not None
        link = AgentLink(
            ws,
            request.transport,
            inbox=self._plane.inbox,
            faults=self._plane.faults,
            recorder=self._plane.recorder,
        )
        self._links[link] = instance
        try:
            await link.run(instance)
        finally:
            del self._links[link]
        return ws

    async def enroll(self, request: web.Request) -> web.StreamResponse:
        """Upgrade, and register one key."""
        try:
            ws = self._offered(request)
            proof = read_proof(request.headers.get("Authorization"))
        except Refused as refused:
            return refusal_response(refused)
        await ws.prepare(request)
        await self._enroller.run(ws, proof, host=self._host(request), path=request.path)
        return ws

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Check the proof as for a link, and take in content."""
        try:
            self._let_in(request)
            instance = await self._admit(request)
        except Refused as refused:
            log.warning("upload.refused", reason=refused.reason)
            return refusal_response(refused)
        return await self._desk.take(request, instance)

    async def revoke(self, agent: str, instance: str) -> bool:
        """Refuse this key from now on and close its link; False when there is no such instance."""
        known = await self._plane.store.revoke(agent, instance, now=time.time())
        for link, owner in self._links.items():
            if (owner.agent, owner.name) == (agent, instance):
                link.close("revoked")
        met = self._plane.directory.get(agent, instance)
        if met is not None:
            met.give_up("the instance was revoked")
        return known

    async def close(self) -> None:
        """Let nobody in any more, and close all links with ``restarting``; waits for them."""
        self._restarting = True
        for link in list(self._links):
            link.close("restarting")
        await asyncio.gather(*(link.ended.wait() for link in list(self._links)))

    def _offered(self, request: web.Request) -> web.WebSocketResponse:
        """Return the upgrade, if this is a request for one that we can answer."""
        self._let_in(request)
        ws = web.WebSocketResponse(
            protocols=[SUBPROTOCOL],
            compress=False,
            autoping=False,
            max_msg_size=LARGEST_FRAME,
            timeout=CLOSE_TIMEOUT,
        )
        offered = ws.can_prepare(request)
        if not offered.ok or offered.protocol != SUBPROTOCOL:
            raise Refused("bad_request")
        return ws

    def _let_in(self, request: web.Request) -> None:
        if self._plane.recorder is not None:
            line = f"{request.method} {request.path_qs}"
            self._plane.recorder.handshake(line, request.headers)
        if self._restarting:
            raise Refused("restarting")
        transport = request.transport
        if self._require_certificate and not (transport and transport.get_extra_info("peercert")):
            raise Refused("identity_rejected")

    def _host(self, request: web.Request) -> str:
        """Return our own name, which a proof has to be made out to.

        The Host header is the peer's word: whoever was given a proof for another name could relay
        it with that name in the header. So a plane that is open to others is told its name.
        """
        return self._public_host or request.host

    async def _admit(
        self, request: web.Request, refusal: Callable[[str], Fault | None] = lambda _: None
    ) -> Instance:
        proof = read_proof(request.headers.get("Authorization"))
        if (fault := refusal(proof.agent)) is not None:
            raise Refused(fault.reason, retry_after=fault.retry_after)
        enrolled = await self._plane.store.instance(proof.agent, proof.instance)
        if enrolled is None:
            raise Refused("identity_rejected")
        self._verifier.verify(
            proof, public_key=enrolled.public_key, host=self._host(request), path=request.path
        )
        if enrolled.revoked:
            raise Refused("revoked")
        return self._plane.instance(proof.agent, proof.instance)
