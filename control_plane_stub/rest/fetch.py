"""An artifact in the answer itself: submit, and pass the bytes on. Nothing is stored of them."""

import asyncio
import time

from aiohttp import web

from control_plane_stub.jobs import Job, new_id
from control_plane_stub.plane import ControlPlane
from control_plane_stub.rest import content_response
from control_plane_stub.rest.errors import ApiError
from control_plane_stub.rest.models import FetchRequest, read_model
from control_plane_stub.storage.relayed import HASHED_AT_ONCE, Relayed

LATE_S = 2.0
"""So long after the deadline we wait for the agent to say so itself."""


class FetchApi:
    """The low-latency way: no disk on it, one plain response for what is small."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """Answer with the bytes, or with the reason why not."""
        wanted = await read_model(request, FetchRequest)
        job = _job(wanted)
        self._plane.submit(job)
        try:
            async with asyncio.timeout(wanted.deadline_s + LATE_S):
                return await self._answer(request, job)
        except TimeoutError:
            if request.transport is not None and _may_have_begun(job):
                request.transport.abort()
            raise ApiError(504, "deadline", "no answer within the deadline", job=job.id) from None
        finally:
            self._plane.dispatcher.cancel(job)
            if job.content is not None:
                job.content.abandon()

    async def _answer(self, request: web.Request, job: Job) -> web.StreamResponse:
        content = await content_response.announced(job)
        if (content.size or 0) > HASHED_AT_ONCE:
            return await content_response.stream(request, job, content)
        while not job.has_ended:
            await job.changed.newer_than(job.changed.version)
        # It has ended: this raises, or returns what is complete.
        await content_response.announced(job)
        assert isinstance(content, Relayed)
        body = b"".join(content.taken_whole() or ())
        return web.Response(body=body, headers=content_response.headers_of(job))


def _may_have_begun(job: Job) -> bool:
    """Whether a part of the answer may be on its way: then it can't become another answer."""
    return job.content is not None and (job.content.size or 0) > HASHED_AT_ONCE


def _job(wanted: FetchRequest) -> Job:
    parameters = wanted.model_dump(include={"uri", "range", "max_bytes"}, exclude_none=True)
    if wanted.range is not None:
        parameters["range"] = list(wanted.range)
    return Job(
        id=new_id(),
        kind="fetch-artifact",
        parameters=parameters,
        created=time.time(),
        agent=wanted.agent,
        labels=wanted.labels or {},
        deadline_s=wanted.deadline_s,
        kept=False,
        stored=False,
    )
