"""Finds the runner that a pipeline or a run belongs to; how it runs is the runner's own part."""

from collections.abc import Mapping

from agent.closing import close_guarded
from agent.errors import NotFound
from agent.pipelines.base import PipelineRunner
from agent.pipelines.run_directories import RunDirectories


class PipelineRunners:
    """The configured pipelines, each with its runner, and the runs there were of them."""

    def __init__(
        self, pipelines: Mapping[str, PipelineRunner], *, directories: RunDirectories
    ) -> None:
        self._pipelines = dict(pipelines)
        self._directories = directories

    def __repr__(self) -> str:
        return f"<PipelineRunners pipelines={sorted(self._pipelines)}>"

    def for_pipeline(self, name: str) -> PipelineRunner:
        """Return the runner of the pipeline *name*. Raises NotFound when there is none."""
        if name not in self._pipelines:
            raise NotFound("there is no such pipeline")
        return self._pipelines[name]

    def for_run(self, run: str) -> PipelineRunner:
        """Return the runner of the pipeline that *run* is a run of.

        Raises:
            NotFound: There is no such run, or its pipeline is no longer configured.
        """
        return self.for_pipeline(self.pipeline_of(run))

    def pipeline_of(self, run: str) -> str:
        """Return the pipeline that *run* is a run of; reads one small file.

        Raises:
            NotFound: There is no such run.
        """
        return self._directories.pipeline_of(run)

    async def close(self) -> None:
        """Let go of all runs without stopping them; idempotent."""
        for runner in {id(runner): runner for runner in self._pipelines.values()}.values():
            await close_guarded("pipeline runner", type(runner).__name__, runner.close)
