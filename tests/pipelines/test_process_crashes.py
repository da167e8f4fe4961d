"""Killed at any moment, agent and supervisor leave at most one start, and say how it stands."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import NotFound
from agent.pipelines.base import PipelineRunner, RunState
from tests.pipelines.lab import Lab, ended, gone, shell, start, whole_log
from tests.pipelines.mortal_agent import COUNT, POINTS
from tests.waiting import until, wait_until

BEFORE_THE_START = list(POINTS)[:4]
AFTER_THE_START = list(POINTS)[4:]


class Scene:
    """One run, the agents that try to start it, and how often its pipeline says it was started."""

    def __init__(self, lab: Lab, counter: Path) -> None:
        self.lab = lab
        self.counter = counter

    def agent(self, point: str = "none") -> "subprocess.Popen[bytes]":
        """A process that starts the run, and stays at *point*."""
        module = [sys.executable, "-m", "tests.pipelines.mortal_agent"]
        arguments = [str(self.lab.state_dir), str(self.counter), point]
        return subprocess.Popen([*module, *arguments], stdout=subprocess.PIPE)

    def kill_agent_at(self, point: str) -> None:
        with self.agent(point) as agent:
            assert agent.stdout is not None
            assert b"there\n" == agent.stdout.readline()
            agent.kill()

    def runner(self) -> PipelineRunner:
        return self.lab.runner(shell(COUNT, self.counter))

    def let_it_end(self) -> None:
        self.counter.with_name(self.counter.name + ".go").touch()

    def starts(self) -> int:
        return len(self.counter.read_text().splitlines()) if self.counter.exists() else 0


@pytest.fixture
def scene(lab: Lab, tmp_path: Path):
    scene = Scene(lab, tmp_path / "starts")
    yield scene
    scene.let_it_end()


@pytest.mark.parametrize("point", BEFORE_THE_START)
async def test_killed_before_the_start_the_next_agent_starts_it(scene: Scene, point):
    """Nothing was started, so nothing is known of the run, and its name is free."""
    scene.kill_agent_at(point)
    scene.let_it_end()

    await start(scene.runner())

    assert RunState.SUCCEEDED == (await ended(scene.runner())).state
    assert 1 == scene.starts()


@pytest.mark.parametrize("point", AFTER_THE_START)
async def test_killed_after_the_start_the_next_agent_attaches(scene: Scene, point):
    """The run goes on without an agent; the next one finds it at work and reads on."""
    scene.kill_agent_at(point)

    status = await start(scene.runner())

    assert RunState.RUNNING == status.state
    scene.let_it_end()
    assert "king\n" == await whole_log(scene.runner(), offset=3)
    assert 1 == scene.starts()


async def test_a_run_that_never_started_is_not_found(scene: Scene):
    scene.kill_agent_at("lock-taken")

    with pytest.raises(NotFound):
        await scene.runner().status("run")


@pytest.mark.parametrize("file", ["lock", "pid", "started", "log"])
async def test_agents_killed_at_any_moment_start_it_once(scene: Scene, file):
    """Killed as soon as a file is there, wherever the other processes are by then."""
    for _ in range(3):
        with scene.agent() as agent:
            wait_until((scene.lab.directory().path / file).exists)
            agent.kill()
    scene.let_it_end()

    await start(scene.runner())

    assert RunState.SUCCEEDED == (await ended(scene.runner())).state
    assert 1 == scene.starts()


async def test_two_agents_at_once_start_it_once(scene: Scene):
    """Processes of their own, not only runners."""
    agents = [scene.agent() for _ in range(3)]

    for agent in agents:
        assert (b"done\n", None) == await asyncio.to_thread(agent.communicate)

    scene.let_it_end()
    await ended(scene.runner())
    assert 1 == scene.starts()


async def test_a_killed_supervisor_leaves_an_unknown_end(scene: Scene):
    """Its pipeline is not left at work, and is not started again; its log stays."""
    script = "echo $$; exec sleep 1000"
    runner = scene.lab.runner(shell(script))
    await start(runner)
    chunk = await anext(aiter(runner.log("run", follow=True)))

    os.kill(scene.lab.supervisor(), signal.SIGKILL)

    assert RunState.UNKNOWN == (await ended(runner)).state
    assert RunState.UNKNOWN == (await start(runner)).state
    assert RunState.UNKNOWN == (await runner.stop("run")).state
    assert chunk.text == await whole_log(runner)
    await until(lambda: gone(int(chunk.text)), message="the end of the pipeline")


@pytest.mark.parametrize("file", ["pid", "started", "exit"])
async def test_supervisors_killed_at_any_moment_start_it_once(scene: Scene, file):
    """Before its mark the run may be started again, after it never."""
    scene.let_it_end()
    directory = scene.lab.directory()
    starting = asyncio.create_task(start(scene.runner()))
    await asyncio.to_thread(wait_until, (directory.path / file).exists)
    try:
        os.kill(scene.lab.supervisor(), signal.SIGKILL)
    except ProcessLookupError:
        assert directory.ending() is not None
    await asyncio.gather(starting, return_exceptions=True)

    await start(scene.runner())

    state = (await ended(scene.runner())).state
    assert scene.starts() in {RunState.SUCCEEDED: {1}, RunState.UNKNOWN: {0, 1}}[state]


async def test_orders_cut_short_are_not_carried_out(scene: Scene):
    """An agent that dies while it hands them over has started nothing."""
    command = [sys.executable, "-I", "-m", "agent.pipelines.supervisor", "run"]
    scene.lab.directory().path.mkdir(parents=True)

    cut = subprocess.run(
        command,
        cwd=scene.lab.directory().path,
        input=b'{"argv": ["true"], "timeout": 9',
        capture_output=True,
    )

    assert 0 != cut.returncode
    assert [] == list(scene.lab.directory().path.iterdir())
    scene.lab.directory().path.rmdir()


def test_callable_points_exist():
    """The points of the mortal agent name what there is."""
    assert all(isinstance(getattr(owner, name), Callable) for owner, name in POINTS.values())
