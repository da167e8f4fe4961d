"""Which jobs there are, and what becomes of each: through duplicates, cancels, sessions, processes.

One attempt at a job, from admission to result, is `attempt`'s part; what a kind does, how outputs
travel and how messages reach us belong to others.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agent.errors import Outcome, Reason
from agent.jobs.attempt import CANCELLED, Attempts, Surroundings
from agent.jobs.execution import Ending
from agent.jobs.job import Fate, Job
from agent.jobs.sink import recorded_result, result_message
from agent.journal import Record
from agent.protocol.messages import (
    JobAccepted,
    JobCancel,
    JobRequest,
    JobSettled,
    OpenJob,
    Standing,
)
from agent.telemetry import metrics
from agent.telemetry.logs import get_logger

MAX_UNSETTLED = 5000
"""Jobs that the control plane has not settled; beyond that there is no room for new ones."""

_FORGOTTEN = Ending(Outcome.CANCELLED, message="the control plane no longer knew the job")

log = get_logger()


class JobRunner:
    """Runs each job at most once and ends each accepted one in exactly one result.

    Its public methods but `drain` never wait, and are called on the event loop.
    """

    def __init__(self, around: Surroundings, *, limit: Callable[[], int]) -> None:
        self._around = around
        self._attempts = Attempts(around, full=self._full)
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
        else:
            self._jobs[job.name] = job
            self._spawn(job, self._attempts.first(job))

    def _full(self) -> Reason | None:
        """Say why no job can be taken now, or None."""
        if self.draining:
            return Reason.DRAINING
        busy = sum(
            1 for job in self._jobs.values() if job.has_place and job.fate is not Fate.FORGET
        )
        settled = self._around.journal.unsettled_count < MAX_UNSETTLED
        return None if busy < self._limit() and settled else Reason.BUSY

    def _again(self, known: Job, asked: Job) -> None:
        """Answer a request for a job that is at work; never starts it a second time."""
        if known.digest != asked.digest:
            self._attempts.refuse_conflict(known.name)
        elif known.accepted:
            self._around.outbox.post(JobAccepted(job=known.name, durable=known.durable))

    def _spawn(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        job.fate = Fate.SHUTDOWN
        job.task = self._around.spawn(work, f"job.{job.name}")
        job.task.add_done_callback(lambda _: self._after(job))

    def _after(self, job: Job) -> None:
        """The task has ended, whichever way: begin again or let go."""
        job.task = None
        if job.fate is Fate.RESTART:
            self._spawn(job, self._attempts.again(job))
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
                self._attempts.conclude(job, CANCELLED)
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
            self._spawn(job, self._attempts.again(job))
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
