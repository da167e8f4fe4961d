"""Either program ends in the middle of a fetch and a pipeline, and everything goes on."""

import http.client
import os
import signal
from collections.abc import Callable

import pytest

from demo.world import World
from tests.faults.worlds import (
    AgentLog,
    Narration,
    arrived,
    got,
    sent_bytes,
    submit,
    use_lane,
)

PLANE_OPTIONS = ("--heartbeat", "500ms")
MIB = 1024 * 1024
SIZE = 192 * MIB
# What was on its way when a program died has to be sent again; the rest must not be.
SLACK = SIZE // 4

Interruption = Callable[[World], None]


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(MIB) * (SIZE // MIB)


def half_fetched(world: World, content: bytes) -> str:
    """Return a job that fetches *content* and is half done."""
    job = submit(world, "fetch-artifact", uri=world.put("large.bin", content))
    world.until(lambda: arrived(world, job) > SIZE // 2)
    return job


def terminate_plane(world: World) -> None:
    world.plane.stop()


def kill_plane(world: World) -> None:
    world.plane.kill()


@pytest.mark.parametrize(
    ("lane", "end"),
    [("blocks", terminate_plane), ("upload", terminate_plane), ("upload", kill_plane)],
)
def test_the_control_plane_comes_back(
    world: World, narration: Narration, content: bytes, lane: str, end: Interruption
):
    """A new session begins; the fetch goes on where the control plane is, the log as well."""
    use_lane(world, lane)
    log, sent = AgentLog(world), sent_bytes(world)
    run = narration.begin()
    fetch = half_fetched(world, content)

    end(world)
    world.start_plane(*PLANE_OPTIONS)

    assert "succeeded" == world.ended(fetch)["state"]
    assert content == got(world, f"/jobs/{fetch}/content")
    narration.finish()
    narration.prove(run)
    assert [False] == [event["resumed"] for event in log.events("link.up")]
    assert SIZE <= sent_bytes(world) - sent < SIZE + SLACK


def test_the_agent_comes_back(world: World, narration: Narration, content: bytes):
    """After a kill -9 the next process sends what is missing, and finds the pipeline again."""
    run = narration.begin()
    fetch = half_fetched(world, content)

    world.agent.kill()
    world.start_agent()

    assert "succeeded" == world.ended(fetch)["state"]
    assert content == got(world, f"/jobs/{fetch}/content")
    narration.finish()
    narration.prove(run)
    assert sent_bytes(world) < SIZE // 2 + SLACK


def restart_plane(world: World, meanwhile: Callable[[], None]) -> None:
    world.plane.kill()
    meanwhile()
    world.start_plane(*PLANE_OPTIONS)


def restart_agent(world: World, meanwhile: Callable[[], None]) -> None:
    world.agent.kill()
    meanwhile()
    world.start_agent()


@pytest.mark.parametrize("restart", [restart_plane, restart_agent])
def test_an_object_that_changed_meanwhile_is_no_mixture(world: World, content: bytes, restart):
    """The job ends as changed, and what has arrived of it can't be taken for the object."""
    fetch = half_fetched(world, content)

    restart(world, lambda: world.put("large.bin", content[::-1]))

    ended = world.ended(fetch)
    assert ("failed", "changed") == (ended["state"], ended["reason"])
    with pytest.raises((http.client.IncompleteRead, OSError)):
        got(world, f"/jobs/{fetch}/content")


def test_the_control_planes_end_is_told_and_waited_out(world: World):
    """SIGTERM closes the link with a reason; the agent tries again until it is let in."""
    log = AgentLog(world)

    world.plane.process.send_signal(signal.SIGTERM)
    assert 0 == world.plane.process.wait(10)
    world.start_plane(*PLANE_OPTIONS)
    world.until(lambda: log.events("link.up"))

    assert "restarting" == log.events("link.down")[0]["reason"]


@pytest.mark.parametrize("before", ["upload", "blocks"])
def test_the_next_process_may_take_the_other_lane(world: World, content: bytes, before: str):
    """What was begun in one lane goes on in the other, at the byte that it had reached."""
    use_lane(world, before)
    fetch = half_fetched(world, content)

    world.agent.kill()
    use_lane(world, {"upload": "blocks", "blocks": "upload"}[before])

    assert "succeeded" == world.ended(fetch)["state"]
    assert content == got(world, f"/jobs/{fetch}/content")
    assert sent_bytes(world) < SIZE // 2 + SLACK
