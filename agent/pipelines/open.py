"""Builds the runners from the configuration; the only file of this package that reads it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from agent.config.pipelines import Pipeline
from agent.config.pipelines import ProcessPipeline as ProcessSettings
from agent.config.plugged import plugged
from agent.errors import UsageError
from agent.pipelines.base import PipelineRunner
from agent.pipelines.parameters import Command
from agent.pipelines.process import Hold, ProcessPipeline, ProcessRunner
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners
from agent.secret_reference import SecretReference

ENTRY_POINTS = "cloud_agent.pipeline_runners"
"""A third party's entry point is named like its runner and loads a `agent.plugins.Plugin`."""

OpenRunner = Callable[[Sequence[Pipeline], RunDirectories, Hold], PipelineRunner]
"""The runner releases what it holds when a run has ended, also when it was never started."""


def open_pipeline_runners(
    settings: Sequence[Pipeline], *, state_dir: Path, hold: Hold
) -> PipelineRunners:
    """Build one runner for all pipelines of a kind; starts nothing and touches no secret.

    Raises:
        UsageError: Two pipelines have one name, nobody knows the runner, or a command lets a
            parameter choose what is run.
    """
    names = [pipeline.name for pipeline in settings]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"pipelines: {min(twice)} is there more than once")
    directories = RunDirectories(state_dir / "runs")
    pipelines: dict[str, PipelineRunner] = {}
    for kind in {pipeline.runner for pipeline in settings}:
        of_kind = [pipeline for pipeline in settings if pipeline.runner == kind]
        runner = _opener(kind)(of_kind, directories, hold)
        pipelines.update((pipeline.name, runner) for pipeline in of_kind)
    return PipelineRunners(pipelines, directories=directories)


def _open_process_runner(
    settings: Sequence[Pipeline], directories: RunDirectories, hold: Hold
) -> ProcessRunner:
    pipelines = {pipeline.name: _process_pipeline(pipeline) for pipeline in settings}
    return ProcessRunner(pipelines, directories=directories, hold=hold)


def _process_pipeline(settings: ProcessSettings) -> ProcessPipeline:
    try:
        command = Command(settings.command, settings.parameters)
    except UsageError as wrong:
        raise UsageError(f"pipelines: {settings.name}: {wrong}") from None
    environment = settings.environment.items()
    return ProcessPipeline(
        command=command,
        directory=settings.directory,
        timeout=settings.timeout,
        stop_grace=settings.stop_grace,
        log_limit=settings.log_limit,
        plain_environment={name: text for name, text in environment if isinstance(text, str)},
        secret_environment={
            name: reference
            for name, reference in environment
            if isinstance(reference, SecretReference)
        },
    )


RUNNERS: dict[str, OpenRunner] = {"process": _open_process_runner}


def _opener(kind: str) -> OpenRunner:
    if kind in RUNNERS:
        return RUNNERS[kind]
    plugin = plugged(ENTRY_POINTS, kind)
    if plugin is not None:
        opener: OpenRunner = plugin.open
        return opener
    raise UsageError(f"pipelines: there is no runner {kind}; there are {', '.join(RUNNERS)}")
