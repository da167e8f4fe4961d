"""A runner with kinds of its own, a real journal and audit log, and an outbox that remembers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.artifacts.stores import ArtifactStores
from agent.errors import NotFound
from agent.guard.audit import AuditLog
from agent.guard.policy import Decision, PolicyRequest
from agent.jobs.admission import Admission
from agent.jobs.attempt import Surroundings
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.outputs import Content, Data, Log, Output, Result
from agent.jobs.runner import JobRunner
from agent.journal import Journal
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners
from agent.protocol.messages import JobRequest, JobResult, Standing
from tests.doubles.outbox import RecordingOutbox
from tests.waiting import until


class Anything(Parameters):
    """Parameters of the kinds for tests."""

    text: str = "ten bytes."
    fail: bool = False


@dataclass
class Shop:
    """One runner and what it works with; *started* and *aborted* count what handlers did."""

    directory: Path
    outbox: RecordingOutbox = field(default_factory=RecordingOutbox)
    started: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    limit: int = 4
    allowed: bool = True

    def open(self) -> None:
        """Begin a process: open the journal, and build a runner from it."""
        self.journal = Journal.open(self.directory / "journal.db")
        self.audit = AuditLog.open(self.directory / "audit.jsonl", redact=lambda text: text)
        around = Surroundings(
            admission=Admission(self._kinds(), lambda _job, _kind, _decision: None),
            tools=self._lend,
            journal=self.journal,
            audit=self.audit,
            outbox=self.outbox,
            redact=lambda text: text.replace("s3cr3t", "***"),
            spawn=lambda work, name: asyncio.create_task(work, name=name),
        )
        self.runner = JobRunner(around, limit=lambda: self.limit)

    async def kill(self) -> None:
        """End the process without a word: tasks stop, memory is gone, files stay."""
        tasks = self.runner.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.journal.close()
        self.audit.close()
        self.outbox = RecordingOutbox()

    def ask(self, job: str, kind: str = "stream", **fields: Any) -> None:
        """Request a job."""
        self.runner.deliver(JobRequest(job=job, kind=kind, **fields))

    async def result(self, job: str) -> JobResult:
        """Wait for the result of *job*."""
        await until(lambda: any(r.job == job for r in self.outbox.of(JobResult)))
        return next(r for r in self.outbox.of(JobResult) if r.job == job)

    @contextmanager
    def _lend(self) -> Iterator[Tools]:
        pipelines = PipelineRunners({}, directories=RunDirectories(self.directory / "runs"))
        yield Tools(ArtifactStores([]), {}, pipelines, self._decide)

    def _decide(self, _: PolicyRequest) -> Decision:
        return Decision(self.allowed, 0 if self.allowed else None, "as the test says")

    def _kinds(self) -> dict[str, Kind[Any]]:
        def asks(_: Anything, __: Tools) -> PolicyRequest:
            return PolicyRequest("stream")

        async def stream(params: Anything, _: Tools, ticket: Ticket) -> AsyncGenerator[Output]:
            self.started.append(ticket.job)
            data = params.text.encode()
            yield Content(len(data), "v1", None)
            yield Data(data[ticket.have_bytes :])
            if params.fail:
                raise NotFound("s3cr3t is not there")
            yield Result({"said": params.text}, sha256="0" * 64)

        async def held(params: Anything, _: Tools, ticket: Ticket) -> AsyncGenerator[Output]:
            self.started.append(ticket.job)
            yield Log("begun\n"[ticket.have_log :], ticket.have_log, 6)
            await self.gate.wait()
            yield Result({})

        async def broken(_: Anything, __: Tools, ___: Ticket) -> AsyncGenerator[Output]:
            raise RuntimeError("s3cr3t")
            yield Result({})

        async def abort(_: Anything, __: Tools, ticket: Ticket) -> None:
            self.aborted.append(ticket.job)

        return {
            "stream": Kind("stream", Anything, asks, stream),
            "held": Kind("held", Anything, asks, held, effect=True, abort=abort),
            "broken": Kind("broken", Anything, asks, broken),
        }


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop that is open; whatever runs at the end of the test is cancelled."""
    shop = Shop(tmp_path)
    shop.open()
    yield shop
    await shop.kill()


def standing(job: str, **fields: Any) -> Standing:
    """Return what a control plane holds of *job*."""
    return Standing(job=job, **fields)
