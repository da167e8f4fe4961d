"""Process pipelines for tests: what they do, in shell or Python, and where they leave traces."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from agent.config.pipelines import ProcessPipeline
from agent.pipelines.base import PipelineRunner, RunState, RunStatus
from agent.pipelines.open import open_pipeline_runners
from agent.pipelines.run_directory import RunDirectory
from agent.pipelines.runners import PipelineRunners
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.secrets.base import Held
from tests.waiting import until


def shell(script: str, *arguments: object) -> list[str]:
    """The command of a pipeline that is a shell script; its arguments are $1, $2, ..."""
    return ["/bin/sh", "-c", script, "pipeline", *map(str, arguments)]


def python(code: str, *arguments: object) -> list[str]:
    """The command of a pipeline that is Python code; its arguments are sys.argv[1:]."""
    return [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]


class Lab:
    """A state directory, in which any number of agents may run the pipeline ``it``."""

    def __init__(self, state_dir: Path, secrets: Mapping[str, str] | None = None) -> None:
        self.state_dir = state_dir
        self.secrets = dict(secrets or {})
        self.held: list[float] = []
        self.released: list[float] = []

    def runners(self, command: list[str], **settings: Any) -> PipelineRunners:
        pipeline = ProcessPipeline(name="it", runner="process", command=command, **settings)
        return open_pipeline_runners([pipeline], state_dir=self.state_dir, hold=self.hold)

    def runner(self, command: list[str], **settings: Any) -> PipelineRunner:
        """A runner of its own, as another agent would have it."""
        return self.runners(command, **settings).for_pipeline("it")

    async def hold(self, references: Sequence[SecretReference], seconds: float) -> Held:
        secrets = tuple(Secret(self.secrets[reference.path]) for reference in references)
        self.held.append(seconds)
        return Held(secrets, lambda: self.released.append(seconds))

    def directory(self, run: str = "run") -> RunDirectory:
        return RunDirectory(self.state_dir / "runs" / run)

    def supervisor(self, run: str = "run") -> int:
        pid = self.directory(run).supervisor()
        assert pid is not None
        return pid


async def start(runner: PipelineRunner, run: str = "run", **parameters: JsonValue) -> RunStatus:
    return await runner.start(run=run, pipeline="it", parameters=parameters)


async def running(runner: PipelineRunner, run: str = "run") -> RunStatus:
    """Wait until *run* is at work and return its status."""

    async def at_work() -> bool:
        return (await runner.status(run)).state is RunState.RUNNING

    await until(at_work, timeout=50, message=f"the beginning of {run}")
    return await runner.status(run)


async def ended(runner: PipelineRunner, run: str = "run") -> RunStatus:
    """Wait for the end of *run* and return its status."""

    async def over() -> bool:
        return (await runner.status(run)).state.ended

    await until(over, timeout=50, message=f"the end of {run}")
    return await runner.status(run)


async def whole_log(runner: PipelineRunner, run: str = "run", offset: int = 0) -> str:
    """Follow the log until the run has ended."""
    return "".join([chunk.text async for chunk in runner.log(run, offset=offset, follow=True)])


async def run_to_end(runner: PipelineRunner, **parameters: JsonValue) -> tuple[RunStatus, str]:
    """Start a run and return how it ended and what it wrote."""
    await start(runner, **parameters)
    return await ended(runner), await whole_log(runner)


def gone(pid: int) -> bool:
    """Whether the process *pid* has ended; an adopted one may still wait for the machine's init."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
