"""SIGTERM ends the agent well: what runs is finished and delivered, what waits is kept."""

import signal
import time

from demo.world import World
from tests.faults.worlds import AgentLog, Narration, ask_to_stop, readiness, submit

AT_ONCE = 3.0


def instance(world: World):
    return world.rest("/agents")["agents"][0]["instances"][0]


def test_a_stopping_agent_finishes_its_jobs_and_takes_no_more(world: World, narration: Narration):
    """The job that came too late waits at the control plane for the next process."""
    run = narration.begin()
    ask_to_stop(world)
    world.until(lambda: readiness(world) == (503, "draining"))
    world.until(lambda: instance(world)["draining"])
    late = submit(world, "fetch-artifact", uri=world.put("late", b"late"))

    assert world.agent.running
    narration.finish()

    assert 0 == world.agent.process.wait(10)
    assert "succeeded" == world.rest(f"/jobs/{run}")["state"]
    narration.prove(run)
    assert "queued" == world.rest(f"/jobs/{late}")["state"]
    world.start_agent()
    assert "succeeded" == world.ended(late)["state"]


def test_the_second_sigterm_ends_at_once_and_loses_nothing(world: World, narration: Narration):
    """The pipeline goes on without an agent; the next process finds it, and its whole log."""
    run = narration.begin()
    ask_to_stop(world)
    world.until(lambda: readiness(world) == (503, "draining"))

    asked = time.monotonic()
    ask_to_stop(world)

    assert 0 == world.agent.process.wait(10)
    assert time.monotonic() - asked < AT_ONCE
    assert "running" == world.rest(f"/jobs/{run}")["state"]
    world.start_agent()
    narration.finish()
    narration.prove(run)


def test_an_agent_without_jobs_ends_at_once(world: World):
    log, asked = AgentLog(world), time.monotonic()

    world.agent.process.send_signal(signal.SIGINT)

    assert 0 == world.agent.process.wait(10)
    assert time.monotonic() - asked < AT_ONCE
    assert log.events("agent.stopped")
    world.start_agent()
