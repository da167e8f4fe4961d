"""A control plane in one file, written from agent/protocol/README.md alone; § cites its sections.

It has no disk: its memory is its "safe hands" (§5), and the loss of a process (§8) ends its jobs.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from websockets import ConnectionClosed, Request, Response, ServerConnection, Subprotocol, serve

Message = dict[str, Any]
CONNECT, ENROLL, SUBPROTOCOL = "/agent/v1/connect", "/agent/v1/enroll", "cloud-agent.v1"
WINDOW, BLOCK, TEXT, CREDIT, HEARTBEAT_S = 4 << 20, 256 << 10, 1 << 20, 1 << 20, 15.0
BINARY = b"block"  # the type of a binary frame: no text frame can have it
JOB_TYPES = ["job." + word for word in "accepted refused progress log result content".split()]
MALFORMED = (AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error)
OPTIONS: Message = {
    "compression": None,
    "ping_interval": None,
    "max_size": TEXT,
    "close_timeout": 1,
}
OPTIONS["subprotocols"] = [Subprotocol(SUBPROTOCOL)]
REASONS = """bad_request 4400 400 identity_rejected 4401 401 join_token_rejected 4402 403
revoked 4403 403 version_unsupported 4426 426 protocol_error 4000 400 heartbeat_lost 4008 408
superseded 4010 409 clock_skew 4011 401 restarting 4504 503""".split()


class RefusedError(Exception):
    """The agent is turned away, with a reason, its close code and its HTTP status (§10)."""

    def __init__(self, reason: str) -> None:
        self.code, self.status = map(int, REASONS[(at := REASONS.index(reason)) + 1 : at + 3])
        self.body = json.dumps({"reason": reason})


class IncompleteError(Exception):
    """We do not hold all that the job's trailer counts (§7), or the job's session is lost (§8)."""


@dataclass
class Finished:
    """How a job ended; `content` is whole, and empty unless the job succeeded."""

    outcome: str
    reason: str
    message: str
    result: Message
    content: bytes
    log: str


def require(holds: bool, reason: str = "protocol_error") -> None:
    """Turn the agent away unless this holds."""
    if not holds:
        raise RefusedError(reason)


def unique(pairs: list[tuple[str, Any]]) -> Message:
    """§3: no key twice."""
    require(len(dict(pairs)) == len(pairs))
    return dict(pairs)


def parse(text: str | bytes) -> Message:
    """§3: one JSON object, without NaN, which int() refuses."""
    value = json.loads(text, object_pairs_hook=unique, parse_constant=int)
    require(isinstance(value, dict))
    return dict(value)


def read_block(frame: bytes) -> Message:
    """§3: a binary frame."""
    version, zero, length, seq, offset = struct.unpack_from(">BBHQQ", frame)
    require((version, zero) == (1, 0) and 1 <= length <= min(128, len(frame) - 20))
    job, data = frame[20 : 20 + length].decode("ascii"), frame[20 + length :]
    return {"type": BINARY, "seq": seq, "job": job, "offset": offset, "data": data}


def number(value: Any) -> int:
    """An integer that is not negative."""
    require(type(value) is int and value >= 0)
    return int(value)


def unbase64(text: str) -> bytes:
    """Base64url without padding, in its one canonical spelling."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    require(base64.urlsafe_b64encode(raw).rstrip(b"=") == text.encode())
    return raw


def verify(request: Request, keys: dict[str, tuple[str, bytes]]) -> Message:
    """§1: the claims of a proof, by the agents and keys of the instances that may connect."""
    try:
        (bearer,) = request.headers.get_all("Authorization")
        signed, _, signature = bearer.removeprefix("Bearer ").rpartition(".")
        head, claims = (parse(unbase64(part)) for part in signed.split("."))
        kind = ("EdDSA", "cloud-agent-proof+jwt", claims["iss"])
        require((head["alg"], head["typ"], head["kid"]) == kind and "crit" not in head)
        agent, key = keys[claims["iss"]]
        Ed25519PublicKey.from_public_bytes(key).verify(unbase64(signature), signed.encode())
        url, port = urlsplit(claims["aud"]), {"ws": ":80", "wss": ":443"}
        host = request.headers["Host"].lower().removesuffix(port[url.scheme])
        require(url.netloc.lower().removesuffix(port[url.scheme]) == host)
        require(url[2:] == (request.path, "", "") and claims["sub"] == agent)
        require(isinstance(claims["jti"], str) and number(claims["iat"]) >= 0)
    except (RefusedError, InvalidSignature, *MALFORMED) as error:
        raise RefusedError("identity_rejected") from error
    return claims


@dataclass(eq=False)
class Job:
    """A job, and what we hold of it; `done` becomes its result or its refusal (§6)."""

    request: Message
    done: asyncio.Future[Message]
    content: bytearray = field(default_factory=bytearray)
    granted: int = CREDIT
    size: int | None = None
    log: str = ""
    log_end: int = 0

    def take_block(self, offset: int, data: bytes) -> None:
        """§7: announced, no larger than agreed, without a gap, and within size and credit."""
        require(self.size is not None and offset == len(self.content) and len(data) <= BLOCK)
        require(offset + len(data) <= min(self.granted, self.size or 0))
        self.content += data

    def finish(self, end: Message) -> Finished:
        """§7: content is complete only with its trailer."""
        outcome, trailer = end.get("outcome", "refused"), end.get("trailer", {})
        needed = trailer or self.size is not None or self.request["kind"] == "fetch-artifact"
        held = (len(self.content), hashlib.sha256(self.content).hexdigest(), self.log_end)
        told = tuple(trailer.get(name) for name in ("bytes", "sha256", "log_end"))
        if outcome == "succeeded" and needed and held != told:
            raise IncompleteError(f"we hold {held}, the trailer is {told}")
        content = bytes(self.content) if outcome == "succeeded" else b""
        said = (end.get("reason", ""), end.get("message", ""), end.get("result", {}))
        return Finished(outcome, *said, content, self.log)


class Session:
    """§5: the numbers of both sides, what is not acknowledged, and the jobs."""

    def __init__(self) -> None:
        self.name, self.news = "s-" + secrets.token_hex(8), asyncio.Event()
        self.jobs: dict[str, Job] = {}
        self.unacked: dict[int, str] = {}
        self.last = self.received = 0

    def welcome(self, resumed: bool) -> Message:
        """§4: the answer to `hello`; jobs that are not named are forgotten (§8)."""
        limits = {"window_bytes": WINDOW, "block_bytes": BLOCK, "text_bytes": TEXT}
        limits["credit_bytes"] = CREDIT
        numbers = {"received": self.received, "heartbeat_s": HEARTBEAT_S, "limits": limits}
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        greeting = {"type": "welcome", "protocol": 1, "session": self.name, "resumed": resumed}
        return greeting | numbers | {"jobs": [], "capabilities": [], "time": now}

    def post(self, kind: str, /, **fields: object) -> None:
        """§5: number a message, and keep it until it is acknowledged."""
        self.last += 1
        self.unacked[self.last] = json.dumps({"type": kind, "seq": self.last, **fields})
        self.news.set()

    def has(self, upto: int) -> bool:
        """§5: whether all that follows `upto` is still kept."""
        return self.last - len(self.unacked) <= upto <= self.last

    def acknowledged(self, upto: int) -> None:
        """§5: forget what the agent has in safe hands."""
        require(upto <= self.last)
        self.unacked = {seq: text for seq, text in self.unacked.items() if seq > upto}

    async def write(self, socket: ServerConnection, sent: int, acked: int) -> None:
        """§5: send in order what follows `sent`, and acknowledge within 50 ms."""
        while True:
            self.news.clear()
            for seq, text in [item for item in self.unacked.items() if item[0] > sent]:
                await socket.send(text)
                sent = seq
            if acked < self.received:
                acked = self.received
                await socket.send(json.dumps({"type": "ack", "received": acked}))
            with suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), 0.04)

    async def converse(self, socket: ServerConnection, sent: int) -> None:
        """Take frames until the connection ends, or three heartbeats of silence end it (§9)."""
        writer = asyncio.create_task(self.write(socket, sent, self.received))
        writer.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            while True:
                frame = await asyncio.wait_for(socket.recv(), 3 * HEARTBEAT_S)
                if reply := self.take(frame):
                    await socket.send(json.dumps(reply))
        finally:
            writer.cancel()

    def take(self, frame: str | bytes) -> Message | None:
        """§3, §5: take a frame once, and say what to answer."""
        message = parse(frame) if isinstance(frame, str) else read_block(frame)
        kind = message["type"]
        require(isinstance(kind, str | bytes))
        if kind == "ack":
            self.acknowledged(number(message["received"]))
        if kind in ("ping", "pong", "ack", "unsupported"):
            return {"type": "pong", "n": message["n"]} if kind == "ping" else None
        known = kind in (*JOB_TYPES, BINARY, "agent.status")
        answer = None if known else {"type": "unsupported", "of": kind}
        if answer and "seq" not in message:
            return answer
        seq = number(message["seq"])
        require(1 <= seq <= self.received + 1)
        if seq <= self.received:
            return None
        if job := self.jobs.get(message.get("job", "")):
            self.advance(job, message)
        self.received = seq
        if seq % (WINDOW // BLOCK // 4) == 0:
            self.news.set()
        return answer

    def advance(self, job: Job, message: Message) -> None:
        """§6, §7: what a message of a job does to it; an ended job takes no more."""
        name, kind = job.request["job"], message["type"]
        if kind == "job.content":
            job.size = number(message["size"])
        elif kind == "job.log" and number(message["offset"]) >= job.log_end:
            job.log, job.log_end = job.log + message["text"], number(message["end"])
        elif kind == BINARY:
            job.take_block(message["offset"], message["data"])
            if job.granted - len(job.content) <= CREDIT // 2:
                job.granted = len(job.content) + CREDIT
                self.post("credit", job=name, up_to=job.granted)
        elif kind in ("job.refused", "job.result"):
            del self.jobs[name]
            if kind == "job.result":
                self.post("job.settled", job=name)
            if not job.done.done():
                job.done.set_result(message)


class MinimalControlPlane:
    """What a control plane needs to enrol agents, send jobs and read results."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self._tokens: dict[bytes, list[Any]] = {}  # hash: agent, time of expiry, instance
        self._keys: dict[str, tuple[str, bytes]] = {}  # instance: agent, public key
        self._seen: dict[tuple[str, str], float] = {}
        self._sessions: dict[str, Session] = {}
        self._sockets: dict[str, ServerConnection] = {}
        self._session = Session()  # the one welcomed last
        self._welcomed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._admit, **OPTIONS
        )
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{CONNECT}"
        return self

    async def __aexit__(self, *_: object) -> None:
        restarting = RefusedError("restarting")
        self._server.close(code=restarting.code, reason=restarting.body)
        await self._server.wait_closed()

    def new_join_token(self, agent: str) -> str:
        """§2: a token for one agent and one key; only its hash is kept."""
        token = "cajt_" + secrets.token_urlsafe(24)
        self._tokens[hashlib.sha256(token.encode()).digest()] = [agent, time.time() + 3600, None]
        return token

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
                    self._session.jobs[request["job"]] = job
                    self._session.post("job.request", **request, deadline_s=int(timeout) + 1)
                    end = await job.done
                    if end["type"] == "job.result" or end["reason"] not in ("busy", "draining"):
                        return job.finish(end)
                    await asyncio.sleep(end.get("retry_after_s", 1.0))
        except (TimeoutError, asyncio.CancelledError):
            self._session.post("job.cancel", job=request["job"])
            raise

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        """§1, §10: refuse before the upgrade, with an HTTP status and a JSON body."""
        try:
            require(request.path in (CONNECT, ENROLL), "bad_request")
            offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
            require(SUBPROTOCOL in offered, "version_unsupported")
            if request.path == CONNECT:
                socket.username = self._check(request, self._keys)
        except RefusedError as error:
            response = socket.respond(error.status, error.body)
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        return None

    def _check(self, request: Request, keys: dict[str, tuple[str, bytes]]) -> str:
        """§1: the instance that proves itself: not revoked, in time, and not a replay."""
        claims, now = verify(request, keys), time.time()
        proof = (claims["iss"], claims["jti"])
        require(claims["iss"] not in self.revoked, "revoked")
        require(abs(now - claims["iat"]) <= 300, "clock_skew")
        self._seen = {old: at for old, at in self._seen.items() if at > now - 600}
        require(proof not in self._seen, "identity_rejected")
        self._seen[proof] = now
        return str(claims["iss"])

    async def _serve(self, socket: ServerConnection) -> None:
        """One connection; whatever is wrong with it becomes a close code (§10)."""
        error = None
        try:
            first, request = parse(await asyncio.wait_for(socket.recv(), 20)), socket.request
            if request and request.path == ENROLL:
                await self._enroll(socket, request, first)
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

    async def _enroll(self, socket: ServerConnection, request: Request, frame: Message) -> None:
        """§2: register a key; the same token from the same key is answered again."""
        agent, key, instance = frame["agent"], unbase64(frame["public_key"]), frame["instance"]
        require(frame["type"] == "enroll")
        require(instance == "i-" + hashlib.sha256(key).hexdigest()[:20], "identity_rejected")
        self._check(request, {instance: (agent, key)})
        digest = hashlib.sha256(frame["join_token"].encode()).digest()
        token = self._tokens.get(digest, ["", 0.0, None])
        fits = token[2] == instance or (token[2] is None and time.time() < token[1])
        require(token[0] == agent and fits, "join_token_rejected")
        token[2], self._keys[instance] = instance, (agent, key)
        await socket.send(json.dumps({"type": "enrolled", "agent": agent, "instance": instance}))

    async def _connect(self, socket: ServerConnection, hello: Message) -> None:
        """§4: greet, and let the new connection of an instance win (§1)."""
        instance, lost = socket.username, RefusedError("superseded")
        identity = (self._keys[instance][0], instance)
        require(hello["type"] == "hello")
        require((hello["agent"], hello["instance"]) == identity, "identity_rejected")
        require(1 in hello["protocols"], "version_unsupported")
        old, self._sockets[instance] = self._sockets.get(instance), socket
        if old:
            await old.close(lost.code, lost.body)
        require(self._sockets[instance] is socket, "superseded")
        session, sent = self._resume(instance, hello)
        await socket.send(json.dumps(session.welcome(resumed=sent is not None)))
        self._session, self._current = session, socket
        self._welcomed.set()
        try:
            await session.converse(socket, sent or 0)
        finally:
            if self._current is socket:
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
