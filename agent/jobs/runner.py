"""From a request to its one result: admit, journal, run, answer.

What a kind does, how its outputs travel and how messages reach us belong to others. Order at
admission: size and shape (the protocol's part), signature (to come, first thing in `_admitted`),
duplicate, policy, capacity, journal, accept.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import structlog

from agent.errors import JobError, JournalFailed, Outcome, Reason
from agent.guard.audit import AuditLog
from agent.jobs.admission import Admission
from agent.jobs.execution import Ending, Execution
from agent.jobs.job import Fate, Job
from agent.jobs.kind import Tools
from agent.jobs.sink import MessageSink, Outbox, Redact, recorded_result, result_message
from agent.journal import Journal, Record
from agent.protocol.messages import (
    JobAccepted,
    JobCancel,
    JobRefused,
    JobRequest,
    JobSettled,
    OpenJob,
    Standing,
)
from agent.telemetry import metrics
from agent.telemetry.logs import get_logger

BUSY_RETRY = 1.0
MAX_UNSETTLED = 5000
"""Jobs that the control plane has not settled; beyond that there is no room for new ones."""

_CANCELLED = Ending(Outcome.CANCELLED, message="the control plane cancelled the job")

_FORGOTTEN = Ending(Outcome.CANCELLED, message="the control plane no longer knew the job")

log = get_logger()


Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
"""Starts a task of this name that the application owns."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the runner works with. *tools* lends those of the configuration of now."""

    admission: Admission
    tools: Callable[[], AbstractContextManager[Tools]]
    journal: Journal
    audit: AuditLog
    outbox: Outbox
    redact: Redact
    spawn: Spawn


class JobRunner:
    """Runs each job at most once and ends each accepted one in exactly one result.

    Its public methods but `drain` never wait, and are called on the event loop.
    """

    def __init__(self, around: Surroundings, *, limit: Callable[[], int]) -> None:
        self._around = around
        self._limit = limit
        self._jobs = {
            record.job: Job.interrupted(record)
            for record in around.journal.unsettled()
            if record.state == "accepted"
        }
        self._told: set[str] = set()
        self._idle = asyncio.Event()
        self.draining = False

    def __repr__(self) -> str:
        return f"<JobRunner {len(self._jobs)} of {self._limit()} jobs>"

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks at work; cancelled ones leave their jobs to the next process."""
        return [job.task for job in self._jobs.values() if job.task is not None]

    def deliver(self, message: JobRequest | JobCancel | JobSettled) -> None:
        """Take in a message of the control plane."""
        match message:
            case JobRequest():
                self._request(message)
            case JobCancel(job=name):
                self._end(name, Fate.CANCEL)
            case JobSettled(job=name):
                self._around.journal.settle(name)

    def open_jobs(self) -> list[OpenJob]:
        """Return every accepted job of which the result is not settled."""
        running = [
            OpenJob(job=job.name, state="running") for job in self._jobs.values() if job.accepted
        ]
        finished = [
            OpenJob(job=record.job, state="finished")
            for record in self._around.journal.unsettled()
            if record.state == "finished"
        ]
        self._told = {job.job for job in (*running, *finished)}
        return running + finished

    def new_session(self, standings: list[Standing]) -> None:
        """Go on from what the control plane holds; forget what it does not know any more.

        Also the start after a restart of ours: jobs found in the journal begin here.
        """
        known = {standing.job: standing for standing in standings}
        for job in [job for job in self._jobs.values() if job.accepted]:
            standing = self._standing(job, known)
            if standing is None:
                self._end(job.name, Fate.FORGET)
            else:
                self._begin_again(job, standing)
        for record in self._around.journal.unsettled():
            if record.state == "finished" and record.job not in self._jobs:
                self._tell_again(record, self._standing(Job.interrupted(record), known))

    def _standing(self, job: Job, known: dict[str, Standing]) -> Standing | None:
        """Return where to go on with *job*, None when the control plane has forgotten it.

        What was accepted after `open_jobs` told of the others can't be known there yet; it is told
        now, and begins at the beginning.
        """
        if job.name in known or job.name in self._told:
            return known.get(job.name)
        self._around.outbox.post(JobAccepted(job=job.name, durable=job.durable))
        return Standing(job=job.name)

    async def drain(self, deadline: float) -> None:
        """Take no new jobs; wait until the running ones have ended, at most *deadline* seconds."""
        self.draining = True
        metrics.draining.set(1)
        try:
            async with asyncio.timeout(deadline):
                while any(job.task for job in self._jobs.values()):
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            log.warning("drain.incomplete", jobs=len(self._jobs))

    def _request(self, request: JobRequest) -> None:
        job = Job.requested(request)
        known = self._jobs.get(request.job)
        if known is not None:
            self._again(known, job)
        elif self._has_room():
            self._jobs[job.name] = job
            self._spawn(job, self._admit_and_run(job))
        else:
            self._refuse_for_now(job.name)

    def _has_room(self) -> bool:
        running = sum(1 for job in self._jobs.values() if job.task and job.fate is not Fate.FORGET)
        unsettled = self._around.journal.unsettled_count
        return not self.draining and running < self._limit() and unsettled < MAX_UNSETTLED

    def _refuse_for_now(self, name: str) -> None:
        reason = Reason.DRAINING if self.draining else Reason.BUSY
        self._around.outbox.post(JobRefused(job=name, reason=reason, retry_after_s=BUSY_RETRY))

    def _again(self, known: Job, asked: Job) -> None:
        """Answer a request for a job that is at work; never starts it a second time."""
        if known.digest != asked.digest:
            self._refuse_conflict(known.name)
        elif known.accepted:
            self._around.outbox.post(JobAccepted(job=known.name, durable=known.durable))

    def _refuse_conflict(self, name: str) -> None:
        message = "this job id was used before, for something else"
        self._around.outbox.post(
            JobRefused(job=name, reason=Reason.DUPLICATE_CONFLICT, message=message)
        )

    def _spawn(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        job.fate = Fate.SHUTDOWN
        job.task = self._around.spawn(work, f"job.{job.name}")
        job.task.add_done_callback(lambda _: self._after(job))

    def _after(self, job: Job) -> None:
        """The task has ended, whichever way: begin again or let go."""
        job.task = None
        if job.fate is Fate.RESTART:
            self._spawn(job, self._run_again(job))
        elif job.fate is Fate.FORGET:
            self._let_go(job)
        self._idle.set()

    def _let_go(self, job: Job) -> None:
        """Drop *job*; one that ends without a result, as nobody wants it, is settled at once."""
        self._jobs.pop(job.name, None)
        record = self._around.journal.find(job.name)
        if record is not None and record.state == "accepted":
            forgotten = result_message(job.name, _FORGOTTEN, self._around.redact)
            self._around.journal.finish(job.name, forgotten.model_dump(mode="json"))
            self._around.journal.settle(job.name)

    def _end(self, name: str, fate: Fate) -> None:
        job = self._jobs.get(name)
        if job is None or job.fate is Fate.CANCEL:
            return
        if job.task is None:
            if fate is Fate.CANCEL:
                self._conclude(job, _CANCELLED)
            self._let_go(job)
            return
        job.fate = fate
        if not job.accepted:
            return
        if fate is Fate.CANCEL:
            # A task that is cancelled before its first step never gets to answer: so let it begin.
            asyncio.get_running_loop().call_soon(job.task.cancel)
        else:
            # Not one step more: the session that it would send into is gone.
            job.task.cancel()

    def _begin_again(self, job: Job, standing: Standing) -> None:
        job.standing = standing
        if job.task is None:
            self._spawn(job, self._run_again(job))
        else:
            self._end(job.name, Fate.RESTART)

    def _tell_again(self, record: Record, standing: Standing | None) -> None:
        if standing is None:
            self._around.journal.settle(record.job)
            return
        result = recorded_result(record.job, record.outcome or {})
        complete = (
            result.trailer.bytes <= standing.have_bytes
            and result.trailer.log_end <= standing.have_log
        )
        if complete or result.outcome is not Outcome.SUCCEEDED:
            self._around.outbox.post(result)
            return
        job = self._jobs[record.job] = Job.interrupted(record)
        self._begin_again(job, standing)

    async def _admit_and_run(self, job: Job) -> None:
        structlog.contextvars.bind_contextvars(job=job.name)
        with self._around.tools() as tools:
            try:
                if await self._was_asked_before(job):
                    job.fate = Fate.FORGET
                    return
                execution = self._admitted(job, tools)
                await self._record(job, execution)
            except JobError as exc:
                self._refuse(job, exc)
                return
            except JournalFailed as exc:
                log.error("job.not_recorded", why=str(exc))  # noqa: TRY400 - it has no more to say
                self._refuse(job, JobError("the agent can't record jobs at present"))
                return
            self._around.outbox.post(JobAccepted(job=job.name, durable=job.durable))
            job.accepted = True
            if job.fate is Fate.CANCEL:
                self._conclude(job, _CANCELLED)
            else:
                await self._run(job, execution, tools)

    async def _was_asked_before(self, job: Job) -> bool:
        record = await self._around.journal.lookup(job.name)
        if record is None:
            return False
        if record.digest != job.digest:
            self._refuse_conflict(job.name)
        elif record.outcome is not None:
            self._around.outbox.post(recorded_result(job.name, record.outcome))
        return True

    def _admitted(self, job: Job, tools: Tools) -> Execution:
        return self._around.admission.prepare(job.ticket, job.kind, job.parameters, tools)

    async def _record(self, job: Job, execution: Execution) -> None:
        job.durable = execution.kind.effect
        record = job.record()
        if job.durable:
            await self._around.journal.accept_durably(record)
        else:
            self._around.journal.accept(record)

    def _refuse(self, job: Job, why: JobError) -> None:
        job.fate = Fate.FORGET
        log.info("job.refused", kind=job.kind, reason=why.reason, detail=why.detail or str(why))
        self._count(job.kind, Outcome.REFUSED, why.reason)
        message = self._around.redact(str(why))
        self._around.outbox.post(JobRefused(job=job.name, reason=why.reason, message=message))

    async def _run_again(self, job: Job) -> None:
        """Go on with a job that was admitted before; the policy of now has to allow it still.

        Without a record of that decision it waits in the journal for the next session or process.
        """
        structlog.contextvars.bind_contextvars(job=job.name)
        with self._around.tools() as tools:
            try:
                execution = self._admitted(job, tools)
            except JobError as exc:
                self._conclude(job, Ending(Outcome.FAILED, exc.reason, str(exc)))
                return
            except JournalFailed as exc:
                log.error("job.not_resumed", why=str(exc))  # noqa: TRY400 - it has no more to say
                return
            await self._run(job, execution, tools)

    async def _run(self, job: Job, execution: Execution, tools: Tools) -> None:
        outbox = self._around.outbox
        sink = MessageSink(job.name, outbox, self._around.redact, offset=job.standing.have_bytes)
        started = time.monotonic()
        try:
            with metrics.jobs_running.labels(job.kind).track_inprogress():
                ending = await execution.run(tools, sink, timeout=job.time_left)
        except asyncio.CancelledError:
            outbox.drop_stream(job.name)
            if job.fate is not Fate.CANCEL:
                raise
            await execution.abort(tools)
            ending = _CANCELLED
        if ending.outcome is not Outcome.SUCCEEDED:
            outbox.drop_stream(job.name)
        metrics.job_duration.labels(job.kind).observe(time.monotonic() - started)
        self._conclude(job, ending)

    def _conclude(self, job: Job, ending: Ending) -> None:
        around = self._around
        message = result_message(job.name, ending, around.redact)
        # The finish first: the journal raises nothing for the disk's sake, the audit log does.
        around.journal.finish(job.name, message.model_dump(mode="json"))
        try:
            around.audit.record("job.ended", job=job.name, kind=job.kind, **_facts(ending))
        except JournalFailed as exc:
            log.error("job.not_audited", why=str(exc))  # noqa: TRY400 - it has no more to say
        job.fate = Fate.FORGET
        self._count(job.kind, ending.outcome, ending.reason)
        log.info("job.ended", kind=job.kind, outcome=ending.outcome, bytes=ending.bytes)
        around.outbox.finish(job.name, message)

    def _count(self, kind: str, outcome: Outcome, reason: Reason | None) -> None:
        label = kind if kind in self._around.admission.kinds else "unknown"
        metrics.jobs.labels(label, outcome.value, reason.value if reason else "").inc()


def _facts(ending: Ending) -> dict[str, str | int | None]:
    return {
        "outcome": ending.outcome.value,
        "reason": ending.reason.value if ending.reason else None,
        "bytes": ending.bytes,
        "sha256": ending.sha256,
    }
