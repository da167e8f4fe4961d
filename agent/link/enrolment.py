"""Registering the public half of the agent's key with a one-time join token."""

import asyncio
import secrets
import time
from dataclasses import replace
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from agent.errors import LinkRefused, ProtocolError, Unreachable, UsageError
from agent.identity import Identity
from agent.link.connection import LinkConnection
from agent.link.dial import DialFailed, Endpoint, dial, hang_up
from agent.protocol.close_reasons import understand
from agent.protocol.codec import decode, encode
from agent.protocol.messages import (
    CONNECT_PATH,
    ENROLL_PATH,
    FROM_CONTROL_PLANE,
    Enroll,
    Enrolled,
)

ANSWER_TIMEOUT = 20.0
LONGEST_TOKEN = 512
NO_ANSWER = "the control plane gave no valid answer to the enrolment"


def read_join_token(path: Path) -> str:
    """Return the token in *path*.

    Raises:
        UsageError: The file can't be read, is empty, or holds something else.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not text"
        raise UsageError(f"the join token file {path} can't be read ({reason})") from None
    if not token or len(token) > LONGEST_TOKEN or not token.isprintable() or " " in token:
        raise UsageError(f"the join token file {path} does not hold a join token")
    return token


async def enroll(endpoint: Endpoint, identity: Identity, join_token: str, *, version: str) -> None:
    """Register *identity* at the control plane; the token is used up by it.

    Idempotent for the same key: a token that this key has used is accepted from it again.

    Raises:
        LinkRefused: The token is wrong, used by another key, or expired; or try again later.
        Unreachable: No answer, or none that says that this very key is registered. It may be.
        UsageError: The configured address or a certificate file can't be used.
    """
    request = Enroll(
        agent=identity.agent,
        instance=identity.instance,
        public_key=identity.public_key,
        join_token=join_token,
    )
    connection = await _connected(endpoint, identity, version)
    try:
        answer = await _answer(connection, request)
    finally:
        await hang_up(connection)
    if answer != Enrolled(agent=identity.agent, instance=identity.instance):
        raise Unreachable(NO_ANSWER)


async def _connected(endpoint: Endpoint, identity: Identity, version: str) -> LinkConnection:
    url = enrolment_url(endpoint.url)
    proof = identity.proof(url, now=time.time(), nonce=secrets.token_urlsafe(16))
    headers = {"Authorization": f"Bearer {proof}"}
    try:
        return await dial(replace(endpoint, url=url), headers, version=version)
    except DialFailed as exc:
        raise Unreachable(str(exc)) from None


async def _answer(connection: LinkConnection, request: Enroll) -> object:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await connection.send(encode(request))
            return decode(str(await connection.recv()), FROM_CONTROL_PLANE)
    except (TimeoutError, ProtocolError):
        raise Unreachable(NO_ANSWER) from None
    except ConnectionClosed:
        refusal = understand(connection.close_reason or "", code=connection.close_code)
    if refusal.reason == "unexplained":
        raise Unreachable(NO_ANSWER)
    raise LinkRefused(refusal.reason, final=refusal.final, retry_after=refusal.retry_after)


def enrolment_url(connect_url: str) -> str:
    """Return where to enroll for an agent that connects to *connect_url*."""
    if not connect_url.endswith(CONNECT_PATH):
        raise UsageError(f"control_plane.url: should end in {CONNECT_PATH}")
    return connect_url.removesuffix(CONNECT_PATH) + ENROLL_PATH
