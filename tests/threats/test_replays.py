"""The same job again and again: rows 3 and 32 of the threat model."""

import os
import signal
import urllib.error

import pytest

from agent.errors import JournalFailed, Reason
from agent.protocol.messages import JobAccepted, JobRefused, JobRequest, JobResult, Standing
from demo.world import AGENT
from tests.threats.fortress import Fortress
from tests.threats.runner import Place
from tests.waiting import until, wait_until

TRIGGER = {"pipeline": "train-talkative", "parameters": {"note": "a"}, "wait": True}


def request(job: str = "j-1", **changes: object) -> JobRequest:
    return JobRequest(**({"job": job, "kind": "count", "parameters": {"to": 1}} | changes))


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_request_that_comes_again_runs_once(tmp_path, times):
    async with Place(tmp_path) as place:
        for _ in range(times):
            place.runner.deliver(request())
        await place.idle()
        for _ in range(times):
            place.runner.deliver(request())
            await place.idle()

    assert ["j-1"] == place.runs
    assert 1 + times == len(place.told(JobResult))
    assert 1 == len(set(map(str, place.told(JobResult))))


async def test_a_request_that_comes_again_after_a_restart_runs_once(tmp_path):
    async with Place(tmp_path) as first:
        first.runner.deliver(request())
        await first.idle()
    async with Place(tmp_path) as second:
        second.runner.deliver(request())
        await second.idle()

    assert [] == second.runs
    assert first.told(JobResult) == second.told(JobResult)


async def test_a_settled_request_that_comes_again_after_a_restart_runs_once(tmp_path):
    async with Place(tmp_path) as first:
        first.runner.deliver(request())
        await first.idle()
        first.settle("j-1")
    async with Place(tmp_path) as second:
        second.runner.deliver(request())
        await second.idle()

    assert [] == second.runs


@pytest.mark.parametrize("moment", ["at work", "finished", "settled", "after a restart"])
@pytest.mark.parametrize(
    "changes", [{"parameters": {"to": 2}}, {"kind": "other"}, {"parameters": {"to": True}}], ids=str
)
async def test_the_same_id_with_other_content_is_a_conflict(tmp_path, moment, changes):
    async with Place(tmp_path, hold=moment == "at work") as place:
        place.runner.deliver(request())
        await until(lambda: place.told(JobAccepted))
        if moment != "at work":
            await place.idle()
        if moment == "settled":
            place.settle("j-1")
        if moment != "after a restart":
            await conflict(place, changes)
    if moment == "after a restart":
        async with Place(tmp_path) as place:
            await conflict(place, changes)
            assert [] == place.runs


async def conflict(place: Place, changes: dict) -> None:
    place.runner.deliver(request(**changes))
    await until(lambda: place.told(JobRefused))
    assert [Reason.DUPLICATE_CONFLICT] == [refusal.reason for refusal in place.told(JobRefused)]
    assert place.runs in (["j-1"], [])


async def test_a_request_in_words_that_mean_the_same_is_no_conflict(tmp_path):
    """The order of keys is not content; nor are a new deadline and fields we don't know."""
    async with Place(tmp_path) as place:
        place.runner.deliver(request(parameters={"to": 1, "by": 1}))
        await place.idle()
        place.runner.deliver(request(parameters={"by": 1, "to": 1}, deadline_s=9, command="id"))
        await until(lambda: len(place.told(JobResult)) == 2)

    assert [] == place.told(JobRefused)


async def test_a_job_whose_decision_cannot_be_recorded_waits_and_ends_nothing_else(tmp_path):
    """An interrupted job is decided on anew; with a full disk neither it nor the agent is lost."""
    async with Place(tmp_path, hold=True) as place:
        place.runner.deliver(request())
        await until(lambda: place.runs)
    async with Place(tmp_path) as place:
        place.decided_raises = JournalFailed("the disk is full")
        place.runner.new_session([Standing(job="j-1")])
        await place.idle()
        assert ([], []) == (place.runs, place.told(JobResult))

        place.decided_raises = None
        place.runner.new_session([Standing(job="j-1")])
        await until(lambda: place.told(JobResult))


def test_one_idempotency_key_is_one_run(fortress: Fortress):
    body = {"agent": AGENT, "kind": "trigger-pipeline", "parameters": TRIGGER,
            "idempotency_key": "once"}  # fmt: skip

    jobs = {fortress.rest("/jobs", body)["id"] for _ in range(5)}
    again = {**TRIGGER, "parameters": {"note": "b"}}
    with pytest.raises(urllib.error.HTTPError, match="409"):
        fortress.rest("/jobs", {**body, "parameters": again})

    assert 1 == len(jobs)
    assert "succeeded" == fortress.ended(job := jobs.pop())["state"]
    assert 1 == fortress.runs_of(job)


def test_frames_that_come_twice_start_nothing_twice(fortress: Fortress):
    fortress.rest("/faults", {"agent": AGENT, "fault": "duplicate", "count": 20})

    jobs = [fortress.submit("trigger-pipeline", **TRIGGER) for _ in range(3)]

    fortress.cli("fault", "clear", "--agent", AGENT)
    assert {"succeeded"} == {job["state"] for job in jobs}
    assert {1} == {fortress.runs_of(job["id"]) for job in jobs}


def test_a_kill_between_start_and_result_starts_nothing_twice(fortress: Fortress):
    job = fortress.rest("/jobs", {"agent": AGENT, "kind": "trigger-pipeline",
                                  "parameters": TRIGGER})["id"]  # fmt: skip
    wait_until(lambda: fortress.runs_of(job), message="the pipeline's start")

    os.kill(fortress.agent.pid, signal.SIGKILL)
    fortress.agent.process.wait()
    fortress.start_agent()

    assert "succeeded" == fortress.ended(job)["state"]
    assert 1 == fortress.runs_of(job)
