"""The requests about jobs. Streams of events are in `events`, the short way to bytes in `fetch`."""

import asyncio
import sqlite3
import time

from aiohttp import web

from control_plane_stub.jobs import Job, new_id
from control_plane_stub.plane import ControlPlane
from control_plane_stub.rest import content_response
from control_plane_stub.rest.errors import ApiError
from control_plane_stub.rest.models import (
    Done,
    JobCreated,
    JobList,
    JobSubmission,
    answer,
    job_view,
    read_model,
)

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000


class JobsApi:
    """Handlers; each answers with a model, a stream, or an `ApiError`."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def submit(self, request: web.Request) -> web.Response:
        """Store a job and give it to an agent; answered when it is stored."""
        wanted = await read_model(request, JobSubmission)
        if wanted.idempotency_key is not None:
            known = await self._plane.jobs.find_by_key(wanted.idempotency_key)
            if known is not None:
                return _created(known, wanted)
        job = _job(wanted)
        try:
            # A client that hangs up must not leave a stored job that nobody offers to agents.
            await asyncio.shield(self._store(job))
        except sqlite3.IntegrityError:
            # Another request with the same key was stored between our look and our insert.
            known = await self._plane.jobs.find_by_key(wanted.idempotency_key or "")
            assert known is not None
            return _created(known, wanted)
        return answer(JobCreated(id=job.id), status=202)

    async def list_jobs(self, request: web.Request) -> web.Response:
        query = request.query
        limit = _limit(query.get("limit"))
        jobs = await self._plane.jobs.newest(
            agent=query.get("agent"), state=query.get("state"), limit=limit
        )
        return answer(JobList(jobs=[job_view(job) for job in jobs]))

    async def get(self, request: web.Request) -> web.Response:
        return answer(job_view(await self.wanted(request)))

    async def cancel(self, request: web.Request) -> web.Response:
        """Ask for the job's end; the job shows when it came. Idempotent."""
        self._plane.dispatcher.cancel(await self.wanted(request))
        return answer(Done(), status=202)

    async def content(self, request: web.Request) -> web.StreamResponse:
        """Stream the content as it comes, or from the store."""
        job = self._plane.with_files(await self.wanted(request))
        content = await content_response.announced(job)
        if job.kept:
            return await content_response.stream(request, job, content)
        try:
            return await content_response.stream(request, job, content)
        finally:
            if not job.has_ended:
                # Its one reader is gone: nobody else can have it.
                self._plane.dispatcher.cancel(job)

    async def log(self, request: web.Request) -> web.StreamResponse:
        """Send the log; with ``follow=true`` until the job has ended."""
        job = self._plane.with_files(await self.wanted(request))
        follow = request.query.get("follow") in ("true", "1")
        headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
        headers["X-Content-Type-Options"] = "nosniff"
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        position = 0
        while True:
            version = job.changed.version
            assert job.log is not None
            last = (job.has_ended and job.log.readable) or not follow
            while piece := await job.log.read(position):
                await response.write(piece)
                position += len(piece)
            if last:
                return response
            await job.changed.newer_than(version)

    async def wanted(self, request: web.Request) -> Job:
        """Return the job that the path names.

        Raises:
            ApiError: There is none.
        """
        job = await self._plane.jobs.find(request.match_info["id"])
        if job is None:
            raise ApiError(404, "not_found", "there is no such job")
        return job

    async def _store(self, job: Job) -> None:
        await self._plane.jobs.insert(job)
        self._plane.submit(job)


def _job(wanted: JobSubmission) -> Job:
    return Job(
        id=new_id(),
        kind=wanted.kind,
        parameters=wanted.parameters,
        created=time.time(),
        agent=wanted.agent,
        labels=wanted.labels or {},
        deadline_s=wanted.deadline_s,
        idempotency_key=wanted.idempotency_key,
        kept=wanted.content == "keep",
    )


def _created(known: Job, wanted: JobSubmission) -> web.Response:
    same = (known.kind, known.parameters) == (wanted.kind, wanted.parameters)
    if not same or wanted.agent not in (None, known.agent):
        raise ApiError(
            409, "duplicate_conflict", "this key was used for something else", job=known.id
        )
    return answer(JobCreated(id=known.id), status=202)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= LARGEST_LIMIT:
        raise ApiError(400, "bad_request", f"limit: a number from 1 to {LARGEST_LIMIT}")
    return int(text)
