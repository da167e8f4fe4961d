"""One attempt at a job: admit, record, accept, run, conclude.

Which jobs there are, and what becomes of one whose attempt has ended, is for `runner` to say. Order
at admission: size and shape (the protocol's part), signature (to come, first thing in `_admitted`),
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
from agent.journal import Journal
from agent.protocol.messages import (
    JobAccepted,
    JobRefused,
)
from agent.telemetry import metrics
from agent.telemetry.logs import get_logger

CANCELLED = Ending(Outcome.CANCELLED, message="the control plane cancelled the job")

BUSY_RETRY = 1.0

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


class Attempts:
    """Makes attempts at jobs; each ends in at most one refusal or result.

    A job's `fate` says, when its task is over, whether anything is left to do. *full* says why
    there is no place for one more job now, or None when there is.
    """

    def __init__(self, around: Surroundings, *, full: Callable[[], Reason | None]) -> None:
        self._around = around
        self._full = full

    async def first(self, job: Job) -> None:
        """Admit *job*, record it, accept it and run it; or refuse it."""
        structlog.contextvars.bind_contextvars(job=job.name)
        with self._around.tools() as tools:
            try:
                if await self._was_asked_before(job):
                    job.fate = Fate.FORGET
                    return
                execution = self._admitted(job, tools)
                if (reason := self._full()) is not None:
                    self._refuse_for_now(job, reason)
                    return
                job.has_place = True
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
                self.conclude(job, CANCELLED)
            else:
                await self._run(job, execution, tools)

    async def _was_asked_before(self, job: Job) -> bool:
        record = await self._around.journal.lookup(job.name)
        if record is None:
            return False
        if record.digest != job.digest:
            self.refuse_conflict(job.name)
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

    def _refuse_for_now(self, job: Job, reason: Reason) -> None:
        job.fate = Fate.FORGET
        refusal = JobRefused(job=job.name, reason=reason, retry_after_s=BUSY_RETRY)
        self._around.outbox.post(refusal)

    def _refuse(self, job: Job, why: JobError) -> None:
        job.fate = Fate.FORGET
        log.info("job.refused", kind=job.kind, reason=why.reason, detail=why.detail or str(why))
        self._count(job.kind, Outcome.REFUSED, why.reason)
        message = self._around.redact(str(why))
        self._around.outbox.post(JobRefused(job=job.name, reason=why.reason, message=message))

    async def again(self, job: Job) -> None:
        """Go on with a job that was admitted before; the policy of now has to allow it still.

        Without a record of that decision it waits in the journal for the next session or process.
        """
        structlog.contextvars.bind_contextvars(job=job.name)
        with self._around.tools() as tools:
            try:
                execution = self._admitted(job, tools)
            except JobError as exc:
                self.conclude(job, Ending(Outcome.FAILED, exc.reason, str(exc)))
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
            ending = CANCELLED
        if ending.outcome is not Outcome.SUCCEEDED:
            outbox.drop_stream(job.name)
        metrics.job_duration.labels(job.kind).observe(time.monotonic() - started)
        self.conclude(job, ending)

    def conclude(self, job: Job, ending: Ending) -> None:
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

    def refuse_conflict(self, name: str) -> None:
        message = "this job id was used before, for something else"
        self._around.outbox.post(
            JobRefused(job=name, reason=Reason.DUPLICATE_CONFLICT, message=message)
        )


def _facts(ending: Ending) -> dict[str, str | int | None]:
    return {
        "outcome": ending.outcome.value,
        "reason": ending.reason.value if ending.reason else None,
        "bytes": ending.bytes,
        "sha256": ending.sha256,
    }
