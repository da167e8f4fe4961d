"""Server-sent events of one job and of all. What is sent is the state of now, never a backlog."""

import asyncio
import codecs
import json
from typing import Any

from aiohttp import web

from control_plane_stub.jobs import Job
from control_plane_stub.plane import ControlPlane
from control_plane_stub.rest.jobs_api import JobsApi
from control_plane_stub.rest.models import JobView, job_view
from control_plane_stub.signals import Signal

HEARTBEAT_S = 15.0
_STATE = {"state", "reason", "message", "agent", "instance", "accepted_at", "ended_at"}


class EventsApi:
    """A slow reader skips what is outdated, and misses no line of a log."""

    def __init__(self, plane: ControlPlane, jobs: JobsApi) -> None:
        self._plane = plane
        self._jobs = jobs

    async def of_job(self, request: web.Request) -> web.StreamResponse:
        """Send ``state``, ``progress`` and ``log`` as they change, and ``result`` as the last.

        An event's id is the position in the log up to which it was sent: with Last-Event-ID the
        log goes on from there.
        """
        job = self._plane.with_files(await self._jobs.wanted(request))
        stream = await _opened(request)
        events = _JobEvents(job, stream, position=_position(request))
        while True:
            version = job.changed.version
            if await events.send_changes():
                return stream.response
            await stream.wait(job.changed, version)

    async def of_all(self, request: web.Request) -> web.StreamResponse:
        """Send ``job`` with each job that changes, and ``agents`` when one comes or goes."""
        subscription = self._plane.jobs.feed.subscribe()
        try:
            stream = await _opened(request)
            while True:
                version = subscription.changed.version
                jobs, agents = subscription.take()
                for job in jobs:
                    await stream.send("job", job_view(job).model_dump(mode="json"))
                if agents:
                    await stream.send("agents", {})
                await stream.wait(subscription.changed, version)
        finally:
            self._plane.jobs.feed.unsubscribe(subscription)


class _Stream:
    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def send(self, kind: str, data: Any, *, number: int | None = None) -> None:
        """Send one event; waits when the reader is slow."""
        head = f"event: {kind}\n" + (f"id: {number}\n" if number is not None else "")
        text = json.dumps(data, separators=(",", ":"))
        await self.response.write(f"{head}data: {text}\n\n".encode())

    async def wait(self, changed: Signal, version: int) -> None:
        """Wait for a change, with a comment now and then, so that both ends see the other."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await changed.newer_than(version)
            except TimeoutError:
                await self.response.write(b": still here\n\n")
            else:
                return


class _JobEvents:
    """What one reader has been told of one job."""

    def __init__(self, job: Job, stream: _Stream, *, position: int) -> None:
        self._job = job
        self._stream = stream
        self._position = position
        self._told: dict[str, Any] = {}
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def send_changes(self) -> bool:
        """Send what is new; True when that was the result."""
        view = job_view(self._job)
        assert self._job.log is not None
        last = self._job.has_ended and self._job.log.readable
        await self._tell("state", view.model_dump(mode="json", include=_STATE))
        await self._tell("progress", view.progress.model_dump(mode="json"))
        await self._send_log()
        if last:
            await self._stream.send("result", _result(view), number=self._position)
        return last

    async def _tell(self, kind: str, data: Any) -> None:
        if self._told.get(kind) != data:
            self._told[kind] = data
            await self._stream.send(kind, data, number=self._position)

    async def _send_log(self) -> None:
        assert self._job.log is not None
        read = self._position
        while piece := await self._job.log.read(read):
            read += len(piece)
            text = self._decoder.decode(piece)
            # A character that is here in part waits for its rest, and is not counted as sent.
            offset, self._position = self._position, read - len(self._decoder.getstate()[0])
            if text:
                data = {"offset": offset, "end": self._position, "text": text}
                await self._stream.send("log", data, number=self._position)
        self._decoder.reset()


async def _opened(request: web.Request) -> _Stream:
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    return _Stream(response)


def _result(view: JobView) -> dict[str, Any]:
    names = {"state", "reason", "message", "result", "trailer", "ended_at"}
    return view.model_dump(mode="json", include=names)


def _position(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
