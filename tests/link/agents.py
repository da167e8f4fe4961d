"""A link of a test: real but for its jobs and its patience."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.identity import Identity
from agent.link.backoff import Backoff
from agent.link.channel import Channel
from agent.link.dial import Endpoint
from agent.link.link import Introduction, Link
from agent.link.uploads import Uploads
from tests.doubles.scripted_control_plane import Work
from tests.waiting import until

INTRODUCTION = Introduction("9.9.9", {"region": "lab"}, ["job:fetch-artifact"], 3)


class Asked(NamedTuple):
    """One question to the back-off, and its true answer."""

    lasted: float
    retry_after: float | None
    final: bool
    delay: float


@dataclass
class Impatient(Backoff):
    """Notes what the real back-off would have waited, and waits next to nothing."""

    asked: list[Asked] = field(default_factory=list)

    def delay(
        self, *, lasted: float, retry_after: float | None = None, final: bool = False
    ) -> float:
        delay = super().delay(lasted=lasted, retry_after=retry_after, final=final)
        self.asked.append(Asked(lasted, retry_after, final, delay))
        return 0.001


class Agent(NamedTuple):
    """What a test looks at."""

    link: Link
    channel: Channel
    work: Work
    backoff: Impatient
    task: asyncio.Task[None]

    async def up(self) -> None:
        await until(lambda: self.link.up or self.task.done(), message="the link being up")
        assert not self.task.done(), self.task


def new_uploads(
    endpoint: Endpoint, identity: Identity, *, upload_from: int | None = 1, segment: int = 65536
) -> Uploads:
    """An upload lane that waits for a welcome, and next to nothing else."""
    return Uploads(
        endpoint,
        identity,
        version="9.9.9",
        upload_from=upload_from,
        segment_bytes=lambda: segment,
        backoff=Impatient,
    )


def new_link(
    endpoint: Endpoint | str,
    identity: Identity,
    *,
    channel: Channel | None = None,
    backoff: Backoff | None = None,
    uploads: Uploads | None = None,
) -> Link:
    """A link that waits to be run."""
    endpoint = Endpoint(endpoint) if isinstance(endpoint, str) else endpoint
    return Link(
        endpoint,
        identity,
        channel=channel or Channel(),
        uploads=uploads or new_uploads(endpoint, identity),
        introduction=lambda: INTRODUCTION,
        backoff=backoff or Impatient(),
    )


@asynccontextmanager
async def connecting(
    endpoint: Endpoint | str, identity: Identity, *, backoff: Backoff | None = None
) -> AsyncIterator[Agent]:
    """Run a link until the end of the block. It must still be running then: it never gives up."""
    channel, work, backoff = Channel(), Work(), backoff or Impatient()
    link = new_link(endpoint, identity, channel=channel, backoff=backoff)
    task = asyncio.create_task(link.run(work))
    try:
        yield Agent(link, channel, work, backoff, task)
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait({task})
