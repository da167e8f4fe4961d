"""A control plane written from agent/protocol/README.md alone; § cites its sections.

It has no disk: its memory is its "safe hands" (§5), and the loss of a process (§8) ends its jobs.
"""

import asyncio
import json
import secrets
from typing import Any, Self

from websockets import ConnectionClosed, Request, Response, ServerConnection, Subprotocol, serve

from tests.protocol.minimal_identity import (
    MALFORMED,
    Message,
    RefusedError,
    Register,
    number,
    parse,
    require,
)
from tests.protocol.minimal_session import TEXT, Finished, IncompleteError, Job, Session

CONNECT, ENROLL, SUBPROTOCOL = "/agent/v1/connect", "/agent/v1/enroll", "cloud-agent.v1"
OPTIONS: dict[str, Any] = {
    "compression": None,
    "ping_interval": None,
    "max_size": TEXT,
    "close_timeout": 1,
    "subprotocols": [Subprotocol(SUBPROTOCOL)],
}


class MinimalControlPlane:
    """What a control plane needs to enrol agents, send jobs and read results."""

    def __init__(self) -> None:
        self.register = Register()
        self.session = Session()  # the one welcomed last
        self.socket: ServerConnection | None = None  # and its connection
        self._sessions: dict[str, Session] = {}
        self._sockets: dict[str, ServerConnection] = {}
        self._welcomed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._admit, **OPTIONS
        )
        self._origin = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.url = self._origin + CONNECT
        return self

    async def __aexit__(self, *_: object) -> None:
        restarting = RefusedError("restarting")
        self._server.close(code=restarting.code, reason=restarting.body)
        await self._server.wait_closed()

    @property
    def held_bytes(self) -> int:
        """How much we hold of the contents that are on their way."""
        return sum(len(job.content) for job in self.session.jobs.values())

    def is_connected(self) -> bool:
        """Whether an agent is welcomed, and its connection stands."""
        return self._welcomed.is_set()

    async def connected(self, timeout: float = 10) -> None:
        """Wait until an agent is welcomed."""
        await asyncio.wait_for(self._welcomed.wait(), timeout)

    async def run_job(self, kind: str, parameters: Message, timeout: float = 60) -> Finished:
        """§6: run a job to its end; offer it again to a busy agent, cancel it after `timeout`."""
        await self.connected(timeout)
        request: Message = {
            "job": "j-" + secrets.token_hex(16),
            "kind": kind,
            "parameters": parameters,
        }
        try:
            async with asyncio.timeout(timeout):
                while True:
                    job = Job(request, asyncio.Future())
                    self.session.jobs[request["job"]] = job
                    self.session.post("job.request", **request, deadline_s=int(timeout) + 1)
                    end = await job.done
                    if end["type"] == "job.result" or end["reason"] not in ("busy", "draining"):
                        return job.finish(end)
                    await asyncio.sleep(end.get("retry_after_s", 1.0))
        except (TimeoutError, asyncio.CancelledError):
            self.session.post("job.cancel", job=request["job"])
            raise

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        """§1, §10: refuse before the upgrade, with an HTTP status and a JSON body."""
        try:
            require(request.path in (CONNECT, ENROLL), "bad_request")
            offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
            require(SUBPROTOCOL in offered, "bad_request")
            if request.path == CONNECT:
                socket.username = self.register.check(request, self.url)
        except RefusedError as error:
            response = socket.respond(error.status, error.body)
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        """One connection; whatever is wrong with it becomes a close code (§10)."""
        error = None
        try:
            first, request = parse(await asyncio.wait_for(socket.recv(), 20)), socket.request
            if request and request.path == ENROLL:
                enrolled = self.register.enroll(request, self._origin + ENROLL, first)
                await socket.send(json.dumps(enrolled))
            else:
                await self._connect(socket, first)
        except RefusedError as refused:
            error = refused
        except TimeoutError:
            error = RefusedError("heartbeat_lost")
        except MALFORMED:
            error = RefusedError("protocol_error")
        except ConnectionClosed:
            return
        await socket.close(error.code if error else 1000, error.body if error else "")

    async def _connect(self, socket: ServerConnection, hello: Message) -> None:
        """§4: greet, and let the new connection of an instance win (§1)."""
        instance, lost = socket.username, RefusedError("superseded")
        identity = (self.register.keys[instance][0], instance)
        require(hello["type"] == "hello")
        require((hello["agent"], hello["instance"]) == identity, "identity_rejected")
        require(1 in hello["protocols"], "version_unsupported")
        old, self._sockets[instance] = self._sockets.get(instance), socket
        if old:
            await old.close(lost.code, lost.body)
        require(self._sockets[instance] is socket, "superseded")
        session, sent = self._resume(instance, hello)
        await socket.send(json.dumps(session.welcome(resumed=sent is not None)))
        self.session, self.socket = session, socket
        self._welcomed.set()
        try:
            await session.converse(socket, sent or 0)
        except (RefusedError, *MALFORMED):
            session.name = ""  # §5: a frame that we cannot take would come again
            raise
        finally:
            if self.socket is socket:
                self._welcomed.clear()

    def _resume(self, instance: str, hello: Message) -> tuple[Session, int | None]:
        """§4, §5: the session, and up to where the agent has it if it goes on."""
        session, upto = self._sessions.get(instance), number(hello.get("received", 0))
        if session and session.name == hello.get("session") and session.has(upto):
            session.acknowledged(upto)
            return session, upto
        for job in session.jobs.values() if session else ():
            if not job.done.done():
                job.done.set_exception(IncompleteError("the session is lost"))
        self._sessions[instance] = Session()
        return self._sessions[instance], None
