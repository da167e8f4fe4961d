"""The jobs on pipelines: trigger one, ask after a run, read its log, stop it."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Annotated, Any

from pydantic import Field, JsonValue

from agent.errors import Outcome, Reason
from agent.guard.policy import PolicyRequest
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.outputs import Log, Output, Result
from agent.pipelines.base import PipelineRunner, RunState, RunStatus

Name = Annotated[str, Field(min_length=1, max_length=128)]

_OUTCOMES = {
    RunState.FAILED: (Outcome.FAILED, Reason.PIPELINE_FAILED, "the pipeline failed"),
    RunState.STOPPED: (Outcome.CANCELLED, None, "the pipeline was stopped"),
    RunState.TIMED_OUT: (Outcome.TIMED_OUT, Reason.DEADLINE, "the pipeline ran out of time"),
    RunState.UNKNOWN: (
        Outcome.OUTCOME_UNKNOWN,
        Reason.INTERNAL,
        "the pipeline was started, but how it ended was lost",
    ),
}


class TriggerPipeline(Parameters):
    """Which pipeline; with *wait* the job lasts, and shows the log, until the run has ended."""

    pipeline: Name
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    wait: bool = False


class OneRun(Parameters):
    """Which run."""

    run: Name


class RunLog(OneRun):
    """Which run's log; with *follow* until the run has ended."""

    follow: bool = False


def _asks_pipeline(params: TriggerPipeline, _: Tools) -> PolicyRequest:
    return PolicyRequest("trigger-pipeline", pipeline=params.pipeline)


async def _trigger(params: TriggerPipeline, tools: Tools, ticket: Ticket) -> AsyncGenerator[Output]:
    """Start the run that is named after the job, once, however often the job is begun again."""
    runner = tools.pipelines.for_pipeline(params.pipeline)
    status = await _seen_through(
        runner.start(run=ticket.job, pipeline=params.pipeline, parameters=params.parameters)
    )
    if params.wait:
        async for log in _log(runner, ticket.job, ticket.have_log, follow=True):
            yield log
        status = await runner.status(ticket.job)
        yield _ended(status)
    else:
        yield Result(_described(status))


async def _seen_through(starting: Coroutine[Any, Any, RunStatus]) -> RunStatus:
    """Await *starting* to its end even when the job is cancelled meanwhile.

    A start that is half done in a thread goes on whatever becomes of its task; only when it is over
    is there a run that `_abort` can stop.
    """
    task = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _abort(_: TriggerPipeline, tools: Tools, ticket: Ticket) -> None:
    await tools.pipelines.for_run(ticket.job).stop(ticket.job)


async def _status(params: OneRun, tools: Tools, _: Ticket) -> AsyncGenerator[Output]:
    yield Result(_described(await tools.pipelines.for_run(params.run).status(params.run)))


async def _logs(params: RunLog, tools: Tools, ticket: Ticket) -> AsyncGenerator[Output]:
    runner = tools.pipelines.for_run(params.run)
    async for log in _log(runner, params.run, ticket.have_log, follow=params.follow):
        yield log
    yield Result(_described(await runner.status(params.run)))


async def _stop(params: OneRun, tools: Tools, _: Ticket) -> AsyncGenerator[Output]:
    yield Result(_described(await tools.pipelines.for_run(params.run).stop(params.run)))


async def _log(
    runner: PipelineRunner, run: str, offset: int, *, follow: bool
) -> AsyncGenerator[Log]:
    async for chunk in runner.log(run, offset=offset, follow=follow):
        yield Log(chunk.text, chunk.offset, chunk.end)


def _ended(status: RunStatus) -> Result:
    outcome, reason, message = _OUTCOMES.get(status.state, (Outcome.SUCCEEDED, None, ""))
    told = status.reason if message and status.reason else message
    return Result(_described(status), outcome=outcome, reason=reason, message=told)


def _described(status: RunStatus) -> dict[str, JsonValue]:
    return {
        "run": status.run,
        "pipeline": status.pipeline,
        "state": status.state.value,
        "exit_code": status.exit_code,
        "why": status.reason,
        "artifacts": [],
        "links": [],
    }


def _asks_run(kind: str, run: str, tools: Tools) -> PolicyRequest:
    """Name the pipeline that *run* belongs to.

    Raises NotFound for a run that does not exist: names of runs come from the control plane itself,
    so that tells it nothing new.
    """
    return PolicyRequest(kind, pipeline=tools.pipelines.pipeline_of(run))


TRIGGER_PIPELINE = Kind(
    "trigger-pipeline", TriggerPipeline, _asks_pipeline, _trigger, effect=True, abort=_abort
)
PIPELINE_STATUS = Kind(
    "pipeline-status",
    OneRun,
    lambda params, tools: _asks_run("pipeline-status", params.run, tools),
    _status,
)
PIPELINE_LOGS = Kind(
    "pipeline-logs",
    RunLog,
    lambda params, tools: _asks_run("pipeline-logs", params.run, tools),
    _logs,
)
STOP_PIPELINE = Kind(
    "stop-pipeline",
    OneRun,
    lambda params, tools: _asks_run("stop-pipeline", params.run, tools),
    _stop,
    effect=True,
)
