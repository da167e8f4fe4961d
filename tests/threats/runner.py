"""The real job runner, journal, audit log and admission, with two kinds of jobs and no link."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.artifacts.stores import ArtifactStores
from agent.errors import AgentError
from agent.guard.audit import AuditLog
from agent.guard.policy import Decision, PolicyRequest
from agent.jobs.admission import Admission
from agent.jobs.attempt import Surroundings
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.outputs import Output, Result
from agent.jobs.runner import JobRunner
from agent.journal import Journal
from agent.link.channel import Channel
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners
from agent.protocol.messages import JobSettled, Numbered
from tests.waiting import until


class Count(Parameters):
    """Something that can differ between two requests."""

    to: int | bool = 1
    by: int = 1


class NotedOutbox(Channel):
    """The link's own outbox; notes what would go out."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Numbered] = []

    def post(self, message: Numbered) -> None:
        self.noted.append(message)

    def finish(self, job: str, last: Numbered) -> None:
        self.noted.append(last)


class Place:
    """A state directory with one agent's runner at work in it; left as a killed process would."""

    def __init__(self, directory: Path, *, hold: bool = False) -> None:
        self._directory = directory
        self._hold = hold
        self._outbox = NotedOutbox()
        self.runs: list[str] = []
        self.decided_raises: AgentError | None = None

    async def __aenter__(self) -> "Place":
        self._tasks: set[asyncio.Task[None]] = set()
        self._journal = Journal.open(self._directory / "journal.db")
        self._audit = AuditLog.open(self._directory / "audit.jsonl", redact=str)
        kinds = {name: Kind(name, Count, self._asks, self._run, effect=True)
                 for name in ("count", "other")}  # fmt: skip
        around = Surroundings(
            admission=Admission(kinds, self._decided),
            tools=self._lend,
            journal=self._journal,
            audit=self._audit,
            outbox=self._outbox,
            redact=str,
            spawn=self._spawn,
        )
        self.runner = JobRunner(around, limit=lambda: 16)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._journal.close()
        self._audit.close()
        for failure in ended:
            if isinstance(failure, Exception):
                raise failure

    async def idle(self) -> None:
        """Wait until no job is at work."""
        await until(lambda: not self.runner.tasks, message="the end of all jobs")

    def told(self, kind: type[Numbered]) -> list[Any]:
        """Return the messages of *kind* that the control plane was told."""
        return [message for message in self._outbox.noted if isinstance(message, kind)]

    def settle(self, job: str) -> None:
        self.runner.deliver(JobSettled(job=job))

    def _asks(self, _: Count, _tools: Tools) -> PolicyRequest:
        return PolicyRequest("count")

    async def _run(self, _: Count, _tools: Tools, ticket: Ticket) -> AsyncGenerator[Output]:
        self.runs.append(ticket.job)
        if self._hold:
            await asyncio.get_running_loop().create_future()
        yield Result({"done": True})

    def _decided(self, _job: str, _kind: str, _decision: Decision) -> None:
        if self.decided_raises is not None:
            raise self.decided_raises

    @contextmanager
    def _lend(self) -> Iterator[Tools]:
        allow = Decision(allowed=True, rule=0, why="a test")
        directories = RunDirectories(self._directory / "runs")
        pipelines = PipelineRunners({}, directories=directories)
        yield Tools(ArtifactStores([]), {}, pipelines, lambda _: allow)

    def _spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        return task
