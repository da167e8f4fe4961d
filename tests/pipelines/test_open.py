"""From the configuration to the runners, and from a run to its runner."""

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from agent.config import plugged
from agent.config.pipelines import ProcessPipeline
from agent.errors import NotFound, UsageError
from agent.pipelines import open as opening
from agent.pipelines.open import open_pipeline_runners
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.runners import PipelineRunners
from agent.plugins import Plugin
from tests.pipelines.lab import Lab, ended, shell, start


def pipeline(name: str, command: list[str]) -> ProcessPipeline:
    return ProcessPipeline(name=name, runner="process", command=command)


async def test_a_run_leads_to_its_runner(lab: Lab):
    """Also in an agent that did not start it."""
    await start(lab.runner(shell("true")))
    runners = lab.runners(shell("true"))

    assert "it" == runners.pipeline_of("run")
    assert runners.for_pipeline("it") is runners.for_run("run")
    await ended(runners.for_run("run"))
    await runners.close()


async def test_a_run_of_a_removed_pipeline_has_no_runner(lab: Lab):
    runner = lab.runner(shell("true"))
    await start(runner)
    await ended(runner)

    runners = open_pipeline_runners([], state_dir=lab.state_dir, hold=lab.hold)

    assert "it" == runners.pipeline_of("run")
    with pytest.raises(NotFound):
        runners.for_run("run")


@pytest.mark.parametrize(
    ("pipelines", "says"),
    [
        ([pipeline("a", ["x"]), pipeline("a", ["y"])], "a is there more than once"),
        ([pipeline("a", ["x"]).model_copy(update={"runner": "moon"})], "there is no runner moon"),
    ],
)
def test_a_wrong_configuration_is_told(lab: Lab, pipelines, says):
    with pytest.raises(UsageError, match=says):
        open_pipeline_runners(pipelines, state_dir=lab.state_dir, hold=lab.hold)


def test_a_third_party_adds_a_runner(lab: Lab, monkeypatch):
    """By an entry point named like the runner."""
    entry_point = EntryPoint("moon", "tests.pipelines.test_open:PLUGIN", opening.ENTRY_POINTS)
    monkeypatch.setattr(plugged, "entry_points", lambda group: EntryPoints([entry_point]))
    moon = pipeline("a", ["x"]).model_copy(update={"runner": "moon"})

    runners = open_pipeline_runners([moon], state_dir=lab.state_dir, hold=lab.hold)

    assert MOON is runners.for_pipeline("a")


MOON = object()
PLUGIN = Plugin(ProcessPipeline, lambda *_: MOON)


def test_opening_touches_neither_disk_nor_secrets(lab: Lab):
    lab.runners(shell("true"), environment={"TOKEN": "secret://vault/missing"})

    assert not lab.state_dir.exists()


HEAVY = {"asyncio", "pydantic", "structlog", "jsonschema", "prometheus_client", "socket"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("agent.pipelines.supervisor", HEAVY), ("agent.pipelines.open", {"jsonschema"})],
)
def test_imports_stay_light(module, heavy):
    """The supervisor takes the standard library only; schemas load when one is first needed."""
    code = f"import sys, {module}; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)

    assert loaded.stdout
    assert not heavy & set(loaded.stdout.split())


async def test_a_runner_that_fails_to_close_keeps_no_other_open(lab: Lab):
    closed = []

    class Runner:
        def __init__(self, *, fails: bool) -> None:
            self.fails = fails

        async def close(self) -> None:
            closed.append(self.fails)
            if self.fails:
                raise RuntimeError

    runners = {"a": Runner(fails=True), "b": Runner(fails=False)}
    directories = RunDirectories(lab.state_dir / "runs")

    await PipelineRunners(runners, directories=directories).close()

    assert [True, False] == closed
