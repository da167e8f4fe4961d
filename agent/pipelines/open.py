"""Builds the runners from the configuration; the only file of this package that reads it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agent.clouds.base import SecretSource
from agent.config.pipelines import Pipeline
from agent.config.pipelines import ProcessPipeline as ProcessSettings
from agent.config.plugged import plugged
from agent.connectors.base import Connector
from agent.errors import UsageError
from agent.pipelines.base import PipelineRunner
from agent.pipelines.parameters import Command
from agent.pipelines.process import Hold, ProcessPipeline, ProcessRunner
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners
from agent.secret_reference import SecretReference

ENTRY_POINTS = "cloud_agent.pipeline_runners"
"""A third party's entry point is named like its runner and loads a `agent.plugins.Plugin`."""

OpenRunner = Callable[[Sequence[Any], RunDirectories, Hold], PipelineRunner]
"""The runner releases what it holds when a run has ended, also when it was never started."""


def open_pipeline_runners(
    settings: Sequence[Pipeline],
    *,
    state_dir: Path,
    hold: Hold,
    connectors: Mapping[str, Connector[Any]] | None = None,
    secrets: SecretSource | None = None,
) -> PipelineRunners:
    """Build one runner for all pipelines of a kind; starts nothing and touches no secret.

    *connectors* are those that settings may name, and *secrets* where a login of a runner's own
    finds what it needs.

    Raises:
        UsageError: Two pipelines have one name, nobody knows the runner, a command or a template
            lets a parameter choose what is run, or a template can't be read.
    """
    names = [pipeline.name for pipeline in settings]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"pipelines: {min(twice)} is there more than once")
    directories = RunDirectories(state_dir / "runs")
    pipelines: dict[str, PipelineRunner] = {}
    for kind in {pipeline.runner for pipeline in settings}:
        of_kind = [pipeline for pipeline in settings if pipeline.runner == kind]
        runner = _opener(kind, connectors or {}, secrets)(of_kind, directories, hold)
        pipelines.update((pipeline.name, runner) for pipeline in of_kind)
    return PipelineRunners(pipelines, directories=directories)


def _open_process_runner(
    settings: Sequence[Any], directories: RunDirectories, hold: Hold
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


RUNNERS = ("process", "kubernetes")


def _opener(
    kind: str, connectors: Mapping[str, Connector[Any]], secrets: SecretSource | None
) -> OpenRunner:
    match kind:
        case "process":
            return _open_process_runner
        case "kubernetes":
            from agent.pipelines.kubernetes.open import open_kubernetes_runner

            return partial(open_kubernetes_runner, connectors=connectors, secrets=secrets)
    plugin = plugged(ENTRY_POINTS, kind)
    if plugin is not None:
        opener: OpenRunner = plugin.open
        return opener
    raise UsageError(f"pipelines: there is no runner {kind}; there are {', '.join(RUNNERS)}")
