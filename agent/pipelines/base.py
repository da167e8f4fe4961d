"""What every pipeline runner offers. No runner lives here."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if (
    TYPE_CHECKING
):  # The supervisor of a run needs `RunState`, and neither time nor room for pydantic.
    from pydantic import JsonValue


class RunState(StrEnum):
    """Where a run stands."""

    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"
    """It was started, is gone, and left no exit code."""

    @property
    def ended(self) -> bool:
        return self not in (RunState.STARTING, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run, as its runner knows it. An *exit_code* of -N means that signal N ended it.

    *reason* says, for all to read, what it waits for or why it ended so, where that is known.
    """

    run: str
    pipeline: str
    state: RunState
    exit_code: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Text of a run's log, already redacted; *offset* and *end* are positions in it, in bytes.

    To go on after this chunk, ask for the log from *end*. Bytes that are not UTF-8 are shown as
    U+FFFD, so the length of *text* says nothing about positions.
    """

    offset: int
    end: int
    text: str


class PipelineRunner(Protocol):
    """Starts, watches and stops the runs of its pipelines. Safe for concurrent calls.

    A run's name is given by the caller and unique for ever; the runner never starts one name twice,
    not even when the agent was killed between the decision and the start.
    """

    async def start(
        self, *, run: str, pipeline: str, parameters: "Mapping[str, JsonValue]"
    ) -> RunStatus:
        """Start the run, or return the status of the run that already has this name.

        Raises:
            NotFound: No such pipeline.
            BadParameters: A parameter is missing, unknown, or does not fit its schema, or the name
                can't be a run's. Nothing was started.
            CredentialUnavailable: A secret of its environment could not be read. Nothing was
                started.
            PipelineFailed: It could not be started.
        """

    async def status(self, run: str) -> RunStatus:
        """Return where *run* stands; does not wait for it.

        Raises:
            NotFound: No such run.
        """

    def log(self, run: str, *, offset: int = 0, follow: bool) -> AsyncIterator[LogChunk]:
        """Yield the log from *offset* on, all there is now or, with *follow*, until the run ended.

        A chunk is at most 32 KiB of the log.

        Raises:
            NotFound: No such run.
        """

    async def stop(self, run: str) -> RunStatus:
        """Ask the run to end, make it end after its grace period, and wait for that.

        With it goes all that it started, its whole process tree. Idempotent; a run that has ended
        keeps its state.

        Raises:
            NotFound: No such run.
            PipelineFailed: It does not end, not even when it is killed.
        """

    async def close(self) -> None:
        """Let go of the runs without stopping them; idempotent."""
