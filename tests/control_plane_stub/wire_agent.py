"""An agent on the wire that answers every job as it is told, while a test is busy elsewhere."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agent.errors import Reason
from agent.protocol.messages import JobRefused, JobRequest, Trailer
from tests.control_plane_stub.fake_agent import FakeAgent, Identity, enroll


@dataclass(frozen=True)
class Answer:
    """What comes back for one job; one that *waits* is left running after its log."""

    content: bytes = b""
    log: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    refusal: Reason | None = None
    message: str = ""
    waits: bool = False


Answering = Callable[[str, dict[str, Any]], Answer]


@asynccontextmanager
async def answering_agent(
    server: str, name: str, *, join_token: str, answering: Answering
) -> AsyncIterator[None]:
    """Enrol the agent *name*, and let it answer jobs for the time of the block."""
    identity = Identity(agent=name)
    await enroll(server, identity, join_token)
    async with FakeAgent(server, identity).connected() as agent:
        answers = asyncio.create_task(_answer_all(agent, answering))
        try:
            yield
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)


async def _answer_all(agent: FakeAgent, answering: Answering) -> None:
    while True:
        request = await agent.inbox.get()
        if isinstance(request, JobRequest):
            await _give(agent, request.job, answering(request.kind, request.parameters))


async def _give(agent: FakeAgent, job: str, answer: Answer) -> None:
    if answer.refusal is not None:
        refused = JobRefused(job=job, reason=answer.refusal, message=answer.message)
        return await agent.send(refused)
    await agent.accept(job, durable=True)
    if answer.log:
        await agent.log(job, 0, answer.log)
    if answer.waits:
        return None
    if answer.content:
        await agent.begin(job, answer.content)
    sha256 = hashlib.sha256(answer.content).hexdigest()
    trailer = Trailer(bytes=len(answer.content), sha256=sha256, log_end=len(answer.log.encode()))
    return await agent.finish(job, answer.content, result=answer.result, trailer=trailer)
