"""Turns a job's content into a response: range, headers that disarm it, and an honest end."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web

from agent.errors import Outcome
from control_plane_stub.jobs import Job
from control_plane_stub.rest.errors import ApiError, failure_of
from control_plane_stub.storage.content import Content, ContentAborted, ReaderTaken

SAFE_TYPES = frozenset({"text/plain", "image/png", "image/jpeg", "image/gif", "image/webp"})
UNSAFE = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})\Z")
_ETAG = re.compile(r"[\x21\x23-\x7e]{1,256}\Z")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from *start* to *stop* (not included) of *size*."""

    start: int
    stop: int
    size: int

    @property
    def whole(self) -> bool:
        return (self.start, self.stop) == (0, self.size)


def span_of(wanted: str | None, size: int) -> Span | None:
    """Return what a Range header asks for; None when it asks for nothing that is there.

    A header that we do not understand is ignored, as HTTP wants it.
    """
    match = _RANGE.match(wanted or "")
    if match is None or match.groups() == ("", ""):
        return Span(0, size, size)
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < start:
            return Span(0, size, size)
    return Span(start, stop, size) if start < stop else None


async def announced(job: Job) -> Content:
    """Return the content of *job* as soon as its size is known; waits for that.

    Raises:
        ApiError: The job ended without content, or without success.
    """
    while True:
        version = job.changed.version
        if job.has_ended and job.state != Outcome.SUCCEEDED:
            raise failure_of(job)
        if job.content is not None:
            return job.content
        if job.has_ended:
            raise ApiError(404, "not_found", "this job has no content", job=job.id)
        await job.changed.newer_than(version)


async def stream(request: web.Request, job: Job, content: Content) -> web.StreamResponse:
    """Send what the request asks for, as it comes.

    A content that turns out incomplete ends in an aborted connection, never in a clean end.

    Raises:
        ApiError: The range is not there, or a content that is not kept is being read.
    """
    size = content.size or 0
    etag = etag_of(job)
    wanted = request.headers.get("Range") if job.kept else None
    if request.headers.get("If-Range") not in (None, etag):
        wanted = None
    span = span_of(wanted, size)
    if span is None:
        return _unsatisfiable(size)
    response = web.StreamResponse(status=200 if span.whole else 206, headers=headers_of(job))
    response.content_length = span.stop - span.start
    if job.kept:
        response.headers["Accept-Ranges"] = "bytes"
    if not span.whole:
        response.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    return await _sent(request, response, job, content.pieces(span.start, span.stop))


def headers_of(job: Job) -> dict[str, str]:
    """Return the headers that keep a browser from running what an artifact contains."""
    headers = {
        "Content-Type": job.media_type if job.media_type in SAFE_TYPES else UNSAFE,
        "Content-Disposition": f'attachment; filename="{job.id}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-store",
    }
    if (etag := etag_of(job)) is not None:
        headers["ETag"] = etag
    return headers


def etag_of(job: Job) -> str | None:
    """Return the entity tag: the content's hash when it is known, else the store's own tag."""
    text = (job.trailer or {}).get("sha256") or (job.etag or "").strip('"')
    return f'"{text}"' if _ETAG.match(text) else None


def _unsatisfiable(size: int) -> web.Response:
    text = '{"error":{"reason":"range_not_satisfiable","message":"there are no such bytes"}}'
    headers = {"Content-Range": f"bytes */{size}"}
    return web.Response(status=416, text=text, content_type="application/json", headers=headers)


async def _sent(
    request: web.Request,
    response: web.StreamResponse,
    job: Job,
    pieces: AsyncGenerator[bytes | memoryview, None],
) -> web.StreamResponse:
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(piece)
    except ContentAborted:
        if not response.prepared:
            raise failure_of(job) from None
        if request.transport is not None:
            request.transport.abort()
    except ReaderTaken:
        raise ApiError(409, "content_taken", "this content is not kept; it was read") from None
    if not response.prepared:
        await response.prepare(request)
    return response
