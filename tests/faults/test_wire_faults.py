"""Whatever happens on the wire: jobs end right, bytes are right, pipelines run once."""

import os

import pytest

from demo.world import AGENT, World
from tests.faults.worlds import AgentLog, Narration, done, got, readiness, submit

# What faults do to uploads is in `test_cuts`; here the link carries all of it.
PLANE_OPTIONS = ("--heartbeat", "500ms", "--no-upload")
LARGE = 16 * 1024 * 1024
SMALL_JOBS = 15
FAULTS = {
    "cut": ("cut --after-bytes 3000000 --count 4", "connection_lost"),
    "stall": ("stall --after-bytes 3000000 --seconds 3", "heartbeat_lost"),
    "short stall": ("stall --after-bytes 3000000 --seconds 0.3", None),
    "delay": ("delay --seconds 0.01 --count 50", None),
    "duplicate": ("duplicate --count 10", None),
    "reorder": ("reorder --count 3", "protocol_error"),
    "malformed": ("garbage --garbage malformed --count 2", "protocol_error"),
    "oversized": ("garbage --garbage oversized --count 2", "frame_too_large"),
    "nested": ("garbage --garbage nested --count 2", "protocol_error"),
    "gap": ("garbage --garbage gap --count 2", "protocol_error"),
    "binary": ("garbage --garbage binary --count 2", "protocol_error"),
}


class Load:
    """A large fetch and small ones, under way while something goes wrong."""

    def __init__(self, world: World) -> None:
        self._world = world
        sizes = [LARGE, *range(1000, 1000 + SMALL_JOBS)]
        self._contents = [os.urandom(size) for size in sizes]
        uris = [world.put(f"load/{n}", content) for n, content in enumerate(self._contents)]
        self._jobs = [submit(world, "fetch-artifact", uri=uri) for uri in uris]

    def prove(self) -> None:
        """Wait for the end of each; each has the bytes of its object."""
        for job, content in zip(self._jobs, self._contents, strict=True):
            assert "succeeded" == self._world.ended(job)["state"]
            assert content == got(self._world, f"/jobs/{job}/content")


def script(world: World, fault: str) -> None:
    name, *options = fault.split()
    world.cli("fault", name, "--agent", AGENT, *options)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_the_wire_harms_no_job(world: World, narration: Narration, fault: str):
    """The agent's log names the reason each time the fault cost the link, and only then."""
    scripted, reason = FAULTS[fault]
    log = AgentLog(world)
    run = narration.begin()
    script(world, scripted)

    load = Load(world)

    load.prove()
    world.until(lambda: not world.rest("/faults")["faults"])
    narration.finish()
    narration.prove(run)
    assert {reason} - {None} == set(log.reasons_down())


def test_a_retryable_refusal_is_waited_out(world: World, narration: Narration):
    """The agent comes back when the control plane said it might, and not sooner."""
    log = AgentLog(world)
    run = narration.begin()
    script(world, "refuse --reason overloaded --retry-after 1 --count 2")
    script(world, "cut")

    Load(world).prove()

    narration.finish()
    narration.prove(run)
    assert {"connection_lost": 1, "overloaded": 2} == log.reasons_down()
    waits = [event["retry_in"] for event in log.events("link.down")[1:]]
    assert all(1 <= wait <= 2 for wait in waits), waits


def test_a_final_refusal_is_an_error_that_says_what_to_do(world: World, narration: Narration):
    """The agent does not come back by itself for minutes; started again, it takes up its jobs."""
    log = AgentLog(world)
    run = narration.begin()
    script(world, "refuse --reason revoked")
    script(world, "cut")

    world.until(lambda: log.reasons_down()["revoked"])

    down = log.events("link.down")[-1]
    assert ("error", "revoked") == (down["level"], down["reason"])
    assert "administrator" in down["message"]
    assert down["retry_in"] >= 300
    assert (503, "not_connected") == readiness(world)
    world.agent.kill()
    world.start_agent()
    narration.finish()
    narration.prove(run)


def test_after_all_that_the_agent_is_as_good_as_new(world: World):
    """No fault left anything behind: no open job, no record of one."""
    uri = world.put("good", b"as new")

    assert "succeeded" == done(world, "fetch-artifact", uri=uri)["state"]
    world.until(lambda: 'journal_records{state="accepted"} 0.0' in world.agent_metrics())
    world.until(lambda: 'journal_records{state="finished"} 0.0' in world.agent_metrics())
