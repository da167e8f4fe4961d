"""Running one admitted job: its handler's outputs into a sink, its end into an outcome.

Admission, cancellation and the journal belong to `runner`; where outputs go, to the sink.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, assert_never

from pydantic import JsonValue

from agent.errors import JobError, Outcome, Reason
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.outputs import Content, Data, Log, Output, Progress, Result
from agent.telemetry.logs import get_logger

ABORT_TIMEOUT = 600.0
"""Undoing what a late or cancelled job has begun. Our runners have bounds of their own, with the
pipeline's grace period in them; this one is for those that have none."""

log = get_logger()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended. *bytes* and *log_end* are positions reached in its content and its log."""

    outcome: Outcome
    reason: Reason | None = None
    message: str = ""
    result: Mapping[str, JsonValue] = field(default_factory=dict)
    bytes: int = 0
    sha256: str | None = None
    log_end: int = 0


_LATE = Ending(Outcome.TIMED_OUT, Reason.DEADLINE, "the job ran out of time")


class Sink(Protocol):
    """Where outputs go. A method that waits holds up the handler: that is the back-pressure."""

    async def content(self, content: Content) -> None: ...
    async def data(self, block: bytes | memoryview) -> None: ...
    async def flush(self) -> None: ...
    async def log(self, chunk: Log) -> None: ...
    async def progress(self, progress: Progress) -> None: ...


@dataclass(frozen=True, slots=True)
class Execution:
    """One job, ready to run."""

    kind: Kind[Any]
    params: Parameters
    ticket: Ticket

    async def run(self, tools: Tools, sink: Sink, *, timeout: float | None) -> Ending:
        """Run to the end and say how it ended; *timeout* is in seconds.

        Whatever the handler raises becomes an ending. Being cancelled is not an ending: what was
        begun is left as it is, and the caller decides about `abort`.
        """
        pump = _Pump(sink, self.ticket)
        try:
            async with asyncio.timeout(timeout) as deadline:
                return await pump.drain(self, tools)
        except JobError as exc:
            log.warning(
                "job.failed", kind=self.kind.name, reason=exc.reason, detail=exc.detail or str(exc)
            )
            ending = Ending(Outcome.FAILED, exc.reason, str(exc))
        except Exception as exc:
            if isinstance(exc, TimeoutError) and deadline.expired():
                await self.abort(tools)
                return pump.stamped(_LATE)
            # A handler's bug ends its job and nothing else.
            log.exception("job.broken", kind=self.kind.name)
            ending = Ending(Outcome.FAILED, Reason.INTERNAL, JobError.default)
        return pump.stamped(ending)

    async def abort(self, tools: Tools) -> None:
        """Undo what was begun, as far as the kind can; waits at most `ABORT_TIMEOUT`."""
        if self.kind.abort is None:
            return
        try:
            async with asyncio.timeout(ABORT_TIMEOUT):
                await self.kind.abort(self.params, tools, self.ticket)
        except (JobError, TimeoutError) as exc:
            log.warning("job.not_aborted", kind=self.kind.name, why=str(exc) or "took too long")


class _Pump:
    """Carries outputs to the sink and keeps count of what went through."""

    def __init__(self, sink: Sink, ticket: Ticket) -> None:
        self._sink = sink
        self._bytes = ticket.have_bytes
        self._log_end = ticket.have_log

    async def drain(self, execution: Execution, tools: Tools) -> Ending:
        last: Result | None = None
        outputs = execution.kind.run(execution.params, tools, execution.ticket)
        async with aclosing(outputs):
            async for output in outputs:
                if isinstance(output, Result):
                    last = output
                else:
                    await self._pass_on(output)
        await self._sink.flush()
        if last is None:
            raise JobError(detail="the handler ended without a result")
        return self.stamped(
            Ending(last.outcome, last.reason, last.message, last.value, sha256=last.sha256)
        )

    def stamped(self, ending: Ending) -> Ending:
        """Return *ending* with the positions reached."""
        return Ending(
            ending.outcome,
            ending.reason,
            ending.message,
            ending.result,
            bytes=self._bytes,
            sha256=ending.sha256,
            log_end=self._log_end,
        )

    async def _pass_on(self, output: Output) -> None:
        match output:
            case Data(block=block):
                self._bytes += len(block)
                await self._sink.data(block)
            case Log():
                self._log_end = output.end
                await self._sink.log(output)
            case Content():
                await self._sink.content(output)
            case Progress():
                await self._sink.progress(output)
            case Result():
                raise AssertionError("a result is not passed on")
            case _:
                assert_never(output)
