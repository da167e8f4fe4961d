"""Killed at any moment, agents leave one Job, and one log without gap or double."""

import asyncio
import subprocess
import sys

import pytest

from agent.pipelines.base import RunState
from tests.pipelines.kubernetes.lab import ClusterLab, shell
from tests.pipelines.kubernetes.mortal_agent import POINTS, SCRIPT
from tests.pipelines.lab import ended, running, start, whole_log
from tests.waiting import until

LOG = "".join(f"line {number}\n" for number in range(1, 9))


async def kill_agent_at(lab: ClusterLab, point: str) -> None:
    """Start an agent that goes as far as *point*, and kill it there."""
    module = [sys.executable, "-m", "tests.pipelines.kubernetes.mortal_agent"]
    arguments = [str(lab.state_dir), str(lab.kubeconfig), lab.namespace, point]
    agent = await asyncio.create_subprocess_exec(
        *module, *arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert agent.stdout is not None
    assert b"there\n" == await agent.stdout.readline()
    agent.kill()
    await agent.wait()


@pytest.mark.parametrize("point", POINTS)
async def test_triggered_twice_with_a_kill_between_there_is_one_job(lab: ClusterLab, point):
    await kill_agent_at(lab, point)

    runner = lab.runner(shell(SCRIPT))
    await start(runner)

    assert RunState.SUCCEEDED == (await ended(runner)).state
    assert LOG == await whole_log(runner)
    assert (1, 1) == (len(lab.jobs()), len(lab.pods()))


@pytest.mark.parametrize("point", ["job-made", "followed"])
async def test_a_run_of_a_killed_agent_is_known_without_a_start(lab: ClusterLab, point):
    """Asked after by its name alone, it is followed to its end."""
    await kill_agent_at(lab, point)

    assert LOG == await whole_log(lab.runner(shell(SCRIPT)))


async def test_a_run_of_a_killed_agent_is_stopped_without_a_start(lab: ClusterLab):
    await kill_agent_at(lab, "job-made")

    stopped = await lab.runner(shell(SCRIPT)).stop("run")

    assert RunState.STOPPED == stopped.state
    assert [] == lab.jobs()


async def test_killed_in_the_middle_of_the_log_the_next_agent_goes_on(lab: ClusterLab):
    """What a reader has had stays as it was: it goes on from there."""
    first = await _agent_that_shows(lab, lines=3)
    first.kill()
    await first.wait()
    read = (lab.directory().log).read_bytes()

    runner = lab.runner(shell(SCRIPT))
    await start(runner)
    rest = await whole_log(runner, offset=len("line 1\nline 2\n"))

    assert read.startswith(b"line 1\nline 2\n")
    assert LOG.removeprefix("line 1\nline 2\n") == rest
    assert LOG == await whole_log(runner)


async def test_an_agent_that_lets_go_leaves_the_log_to_the_next(lab: ClusterLab):
    first = lab.runner(shell(SCRIPT))
    await start(first)
    await running(first)
    await until(lambda: lab.directory().log.stat().st_size > 7, message="the first lines")
    await first.close()

    assert LOG == await whole_log(lab.runner(shell(SCRIPT)))


async def test_bytes_that_do_not_count_are_written_anew(lab: ClusterLab):
    """An agent that was killed between the log and the cursor has shown them to nobody."""
    first = lab.runner(shell(SCRIPT))
    await start(first)
    await until(lambda: lab.directory().log.exists() and lab.directory().log.stat().st_size > 7)
    await first.close()
    with lab.directory().log.open("ab") as log:
        log.write(b"line 2\nlin")

    assert LOG == await whole_log(lab.runner(shell(SCRIPT)))


async def test_a_state_directory_that_is_lost_costs_no_second_job(lab: ClusterLab):
    """Its Job is found, and its whole log read again."""
    first = lab.runner(shell(SCRIPT))
    await start(first)
    await first.close()
    lab.state_dir.rename(lab.state_dir.with_name("lost"))

    runner = lab.runner(shell(SCRIPT))
    await start(runner)

    assert LOG == await whole_log(runner)
    assert 1 == len(lab.jobs())


async def _agent_that_shows(lab: ClusterLab, *, lines: int) -> asyncio.subprocess.Process:
    module = [sys.executable, "-m", "tests.pipelines.kubernetes.mortal_agent"]
    arguments = [str(lab.state_dir), str(lab.kubeconfig), lab.namespace, "nowhere"]
    agent = await asyncio.create_subprocess_exec(*module, *arguments, stderr=subprocess.DEVNULL)

    def shown() -> bool:
        log = lab.directory().log
        return log.exists() and log.read_bytes().count(b"\n") >= lines

    await until(shown, message=f"{lines} lines")
    return agent
