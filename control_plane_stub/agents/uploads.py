"""Takes in content that agents upload by HTTP, instead of sending it in blocks over their links.

Who an agent is has been checked by `gate`; where bytes are kept belongs to `storage`.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from agent.protocol.close_reasons import describe
from agent.protocol.upload import Segment, read_content_range, taken
from control_plane_stub.agents.faults import Faults
from control_plane_stub.agents.garbage import Frame
from control_plane_stub.agents.inbox import Inbox
from control_plane_stub.agents.instance import Instance
from control_plane_stub.agents.recording import Recorder
from control_plane_stub.jobs import Job
from control_plane_stub.storage.content import Content

ANNOUNCED_S = 10.0
"""So long an upload waits for the `job.content` that comes over the link."""
UNSAFE_BYTES = 8 * 1024 * 1024
"""So much is taken in and not yet in safe hands."""


READ_BYTES = 1024 * 1024
GONE = '{"reason":"gone"}'


class Unfit(Exception):
    """The request is answered with this status and body."""

    def __init__(self, status: int, body: str, *, retry_after: int | None = None) -> None:
        super().__init__(body)
        self.status = status
        self.body = body
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class _Connection:
    """What faults may do to an upload."""

    transport: asyncio.Transport

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    async def inject(self, frame: Frame) -> None:
        """Nothing is sent on an upload but its answer, which no fault changes."""


class UploadDesk:
    """Takes segments in the order of their bytes; of each job one at a time, the newest."""

    def __init__(self, inbox: Inbox, faults: Faults, recorder: Recorder | None) -> None:
        self._inbox = inbox
        self._faults = faults
        self._recorder = recorder
        self._under_way: dict[str, _Connection] = {}
        inbox.on_given_up = self._end

    async def take(self, request: web.Request, instance: Instance) -> web.Response:
        """Take in what *request* brings, as fast as the content's reader or the disk allows."""
        try:
            intake, segment = await self._wanted(request, instance)
            with self._alone(request, intake.job) as connection:
                if not segment.asks:
                    await self._fill(request, intake, segment, connection)
                await intake.safe()
        except Unfit as unfit:
            headers = {} if unfit.retry_after is None else {"Retry-After": str(unfit.retry_after)}
            return _answer(unfit.body, status=unfit.status, headers=headers)
        return _answer(taken(intake.content.have))

    async def _wanted(self, request: web.Request, instance: Instance) -> tuple["_Intake", Segment]:
        segment = read_content_range(request.headers.get("Content-Range", ""))
        if segment is None or request.content_length != segment.stop - segment.first:
            raise Unfit(400, describe("bad_request"))
        job = instance.open.get(request.match_info["job"])
        if job is None:
            raise Unfit(410, GONE)
        content = await _announced(job)
        if content.size != segment.size:
            raise Unfit(400, describe("bad_request"))
        return _Intake(job, content, self._inbox), segment

    @contextmanager
    def _alone(self, request: web.Request, job: Job) -> Iterator[_Connection]:
        """End the connection that this agent has given up, though it still looks alive from
        here."""
        assert request.transport is not None
        connection = _Connection(request.transport)
        self._end(job, unless=connection)
        self._under_way[job.id] = connection
        try:
            yield connection
        finally:
            if self._under_way.get(job.id) is connection:
                del self._under_way[job.id]

    def _end(self, job: Job, *, unless: _Connection | None = None) -> None:
        """Take in no more of what is under way; *unless* is on the same connection."""
        former = self._under_way.pop(job.id, None)
        if former is not None and (unless is None or former.transport is not unless.transport):
            former.abort()

    async def _fill(
        self, request: web.Request, intake: "_Intake", segment: Segment, connection: _Connection
    ) -> None:
        position = segment.first
        if position != intake.content.have:
            raise Unfit(409, taken(intake.content.have))
        request.content.set_read_chunk_size(READ_BYTES)
        faults = self._faults.of(intake.job.agent or "", connection)
        try:
            async for piece in request.content.iter_any():
                if faults.active:
                    await faults.incoming(piece)
                ended = self._under_way.get(intake.job.id) is not connection
                # Blocks may have gone on where this one stands: bytes are placed by nothing else.
                if ended or position != intake.content.have:
                    raise Unfit(409, taken(intake.content.have))
                position += len(piece)
                if self._recorder is not None:
                    self._recorder.frame("upload", piece)
                await intake.take(piece)
        finally:
            faults.detach(connection)


class _Intake:
    """The way of one segment into the content of its job, no faster than that takes it."""

    def __init__(self, job: Job, content: Content, inbox: Inbox) -> None:
        self.job = job
        self.content = content
        self._inbox = inbox
        self._unsafe = 0

    async def take(self, piece: bytes) -> None:
        """Take in the next bytes; waits for room for more."""
        self._unsafe += len(piece)
        self._inbox.uploaded(self.content, piece, partial(self._is_safe, len(piece)))
        await self._until(self._has_room)

    async def safe(self) -> None:
        """Wait until all that was taken in is in safe hands."""
        await self._until(lambda: not self._unsafe)

    def _has_room(self) -> bool:
        return self._unsafe <= UNSAFE_BYTES and self.content.have < max(self.content.allowance(), 1)

    def _is_safe(self, size: int) -> None:
        self._unsafe -= size
        self.job.changed.notify()

    async def _until(self, fits: Callable[[], bool]) -> None:
        while True:
            version = self.job.changed.version
            if self.job.has_ended:
                raise Unfit(410, GONE)
            if fits():
                return
            await self.job.changed.newer_than(version)


async def _announced(job: Job) -> Content:
    """Return the content of *job*; its announcement may be slower than the first request."""
    try:
        async with asyncio.timeout(ANNOUNCED_S):
            while job.content is None or job.content.size is None:
                if job.has_ended:
                    raise Unfit(410, GONE)
                await job.changed.newer_than(job.changed.version)
    except TimeoutError:
        raise Unfit(503, describe("overloaded", retry_after=1), retry_after=1) from None
    return job.content


def _answer(body: str, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)
