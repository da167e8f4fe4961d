"""Follows one run in the cluster: keeps its log, says where it stands, sees it to its end.

One agent at a time does that, the holder of the run's lock. All it knows it looks up: it may be
killed at any point, and another one goes on.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from agent.errors import JobError
from agent.pipelines.base import RunState
from agent.pipelines.kubernetes import reasons
from agent.pipelines.kubernetes.cluster import Cluster, Unreadable
from agent.pipelines.kubernetes.log_lines import LogLines, Place
from agent.pipelines.kubernetes.pods import all_over, has_begun, is_over, state_of
from agent.pipelines.kubernetes.reasons import Trouble
from agent.pipelines.kubernetes.record import Asked, Cursor, Record, Seen
from agent.pipelines.run_directory import Ending
from agent.telemetry.logs import get_logger

log = get_logger()

Object = dict[str, Any]
T = TypeVar("T")

_SETTLING = 10.0
"""A pod that has just been made may miss for a moment what is being made beside it."""


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds. *look* is the longest time between two looks, *pause* the shortest, *again* the
    one after a log that has ended before its pod; *idle* is how long a log may be silent before it
    is asked for anew; *unreadable* how long the log of an ended pod is asked for in vain; *retry*
    the longest time between two tries to reach the cluster.
    """

    look: float = 10.0
    again: float = 1.0
    pause: float = 0.2
    idle: float = 60.0
    unreadable: float = 120.0
    retry: float = 30.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all runs of a pipeline."""

    container: str
    start_timeout: float
    log_limit: int


class Follower:
    """For one task; the caller holds the run's lock as long as `run` lasts."""

    def __init__(
        self,
        cluster: Cluster,
        record: Record,
        asked: Asked,
        rules: Rules,
        *,
        redact: Callable[[bytes], bytes],
        times: Times,
    ) -> None:
        self._cluster = cluster
        self._record = record
        self._asked = asked
        self._rules = rules
        self._redact = redact
        self._times = times
        self._seen = Seen()
        self._cursor = Cursor()
        self._unreadable_since: float | None = None

    async def run(self) -> None:
        """Return when the run has ended and all of its log that could be read is kept."""
        self._cursor = await _whole(asyncio.to_thread(self._record.recover))
        self._seen = await asyncio.to_thread(self._record.seen)
        delay = self._times.pause
        while True:
            try:
                if await self._look():
                    return
                delay = self._times.pause
            except JobError as failure:
                await self._note_unseen(failure)
                delay = min(delay * 2, self._times.retry)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load

    async def _look(self) -> bool:
        """Look once, do what is to be done, wait for a change; True when the run is over."""
        name, namespace = self._asked.name, self._asked.namespace
        job = await self._cluster.job(name, namespace)
        if job is None or job["metadata"]["uid"] != self._asked.uid:
            await self._end(await self._lost())
            return True
        pods, version = await self._cluster.pods(job, namespace)
        finished = reasons.is_over(job)
        pod = next((one for one in pods if one["metadata"]["uid"] not in self._cursor.done), None)
        if not finished:
            if pod is None or not has_begun(pod, self._rules.container):
                await self._note_waiting(job, pod)
            if await self._is_to_stop(job, pods):
                await self._cluster.delete_job(job, namespace)
        patience = self._times.pause if finished or all_over(pods) else self._times.look
        if pod is not None and (has_begun(pod, self._rules.container) or finished):
            if await self._read(pod):
                return False
            patience = min(patience, self._times.again)
        elif finished:
            await self._end(_ending(job, pods[-1] if pods else None, self._rules.container))
            return True
        await self._cluster.change(job, namespace, since=version, patience=patience)
        return False

    async def _read(self, pod: Object) -> bool:
        """Read what there is of the log of *pod*; False when there is nothing to do but wait."""
        over = is_over(pod, self._rules.container)
        await self._begin(pod)
        if self._cursor.cut:
            return await self._leave(pod) if over else False
        if not has_begun(pod, self._rules.container):
            return await self._leave(pod)
        await self._note(Seen(RunState.RUNNING))
        lines = LogLines(self._cursor.place)
        try:
            await self._read_into(lines, pod, follow=not over)
        except Unreadable as failure:
            return await self._give_up_in_time(pod, str(failure)) if over else False
        except TimeoutError:
            return True
        self._unreadable_since = None
        # A log that breaks off ends as a whole one does: whole is one that was asked for after the
        # end of the pod and has nothing new.
        if over and not lines.fresh:
            await self._append(lines.end(), lines.place)
            return await self._leave(pod)
        return over

    async def _read_into(self, lines: LogLines, pod: Object, *, follow: bool) -> None:
        pieces = self._cluster.log(
            pod["metadata"]["name"],
            self._asked.namespace,
            container=self._rules.container,
            since=lines.place.since,
            follow=follow,
            idle=self._times.idle,
        )
        torn = False
        async with aclosing(pieces):
            async for piece in pieces:
                text = lines.feed(piece)
                if lines.torn and not torn:
                    torn = True
                    await self._say("lines may be missing here: the cluster has dropped them")
                if text:
                    await self._append(text, lines.place)
                if self._cursor.cut:
                    return

    async def _begin(self, pod: Object) -> None:
        """Let the cursor stand in the log of *pod*; a further attempt is marked."""
        uid = pod["metadata"]["uid"]
        if self._cursor.pod == uid:
            return
        # One that was there before, and is gone now, won't be read on.
        gone = (self._cursor.pod,) if self._cursor.pod else ()
        done = (*self._cursor.done, *gone)
        self._cursor = replace(self._cursor, done=done, pod=uid, place=Place())
        if done:
            await self._say(f"attempt {len(done) + 1}")

    async def _leave(self, pod: Object) -> bool:
        done = (*self._cursor.done, pod["metadata"]["uid"])
        await self._keep(b"", replace(self._cursor, done=done, pod="", place=Place()))
        self._unreadable_since = None
        return True

    async def _give_up_in_time(self, pod: Object, why: str) -> bool:
        now = time.monotonic()
        self._unreadable_since = self._unreadable_since or now
        if now - self._unreadable_since < self._times.unreadable:
            await asyncio.sleep(self._times.pause)
            return True
        log.warning("run.log_lost", run=self._record.run, detail=why)
        await self._say("the rest of this log can't be read: the cluster does not show it")
        return await self._leave(pod)

    async def _is_to_stop(self, job: Object, pods: list[Object]) -> bool:
        """Whether the Job has still to be deleted, since it is to end or has not begun in time."""
        if job["metadata"].get("deletionTimestamp"):
            return False
        if await asyncio.to_thread(self._record.stopping):
            return True
        begun = any(has_begun(pod, self._rules.container) for pod in pods)
        late = time.time() - self._asked.at > self._rules.start_timeout
        if begun or not late:
            return False
        why = self._seen.why or "no reason is known"
        ending = Ending(RunState.FAILED, None, f"it did not start in time: {why}")
        await _whole(asyncio.to_thread(self._record.write_stopping, ending))
        return True

    async def _note_waiting(self, job: Object, pod: Object | None) -> None:
        trouble = await self._trouble(job, pod)
        if trouble and trouble.text != self._seen.why:
            log.warning(
                "run.waiting", run=self._record.run, reason=trouble.text, detail=trouble.detail
            )
            await self._say(f"waiting: {trouble.text}")
        state = self._seen.state if self._cursor.done else RunState.STARTING
        await self._note(Seen(state, trouble.text if trouble else None))

    async def _trouble(self, job: Object, pod: Object | None) -> Trouble | None:
        young = time.time() - self._asked.at < _SETTLING
        trouble = reasons.why_waiting(pod) if pod else None
        if trouble and young and "ConfigError" in trouble.detail:
            return None
        if trouble:
            return trouble
        about = pod or job
        events = await self._cluster.events(about["metadata"]["name"], self._asked.namespace)
        return reasons.why_in_events(events)

    async def _note_unseen(self, failure: JobError) -> None:
        if self._seen.why != str(failure):
            log.warning("run.unseen", run=self._record.run, error=failure, detail=failure.detail)
        await self._note(Seen(self._seen.state, str(failure)))

    async def _lost(self) -> Ending:
        """Return how a run ends whose Job is gone."""
        stopping = await asyncio.to_thread(self._record.stopping)
        return stopping or Ending(RunState.UNKNOWN, None, "its Job is gone from the cluster")

    async def _end(self, ending: Ending) -> None:
        if ending.error:
            await self._say(ending.error)
        await _whole(asyncio.to_thread(self._record.directory.write_ending, ending))
        log.info("run.ended", run=self._record.run, state=ending.state.value)

    async def _note(self, seen: Seen) -> None:
        if seen != self._seen:
            self._seen = seen
            await _whole(asyncio.to_thread(self._record.write_seen, seen))

    async def _say(self, text: str) -> None:
        """Write a line of our own, which no pipeline wrote."""
        begin = "\n" if self._cursor.open_line else ""
        await self._append(f"{begin}[{text}]\n".encode(), self._cursor.place)

    async def _append(self, text: bytes, place: Place) -> None:
        shown = self._redact(text)
        room = self._rules.log_limit - self._cursor.length
        cut = len(shown) > room
        if self._cursor.cut:
            shown = b""
        elif cut:
            note = f"\n[log cut after {self._rules.log_limit} bytes]\n"
            shown = shown[: max(0, room)] + note.encode()
        length = self._cursor.length + len(shown)
        open_line = not shown.endswith(b"\n") if shown else self._cursor.open_line
        cursor = replace(
            self._cursor,
            length=length,
            place=place,
            cut=self._cursor.cut or cut,
            open_line=open_line,
        )
        await self._keep(shown, cursor)

    async def _keep(self, text: bytes, cursor: Cursor) -> None:
        self._cursor = cursor
        await _whole(asyncio.to_thread(self._record.append, text, cursor))


def _ending(job: Object, pod: Object | None, container: str) -> Ending:
    code = state_of(pod, container).get("terminated", {}).get("exitCode") if pod else None
    if reasons.is_complete(job):
        return Ending(RunState.SUCCEEDED, 0)
    failure = reasons.failure_of(job) or {}
    late = failure.get("reason") == "DeadlineExceeded"
    why = reasons.why_failed(job, pod)
    if why:
        log.warning("run.failed", name=job["metadata"]["name"], reason=why.text, detail=why.detail)
    state = RunState.TIMED_OUT if late else RunState.FAILED
    return Ending(state, None if late else code, why.text if why else None)


async def _whole(work: Awaitable[T]) -> T:
    """Await *work* to its end also when we are cancelled: a thread goes on whatever we do."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
