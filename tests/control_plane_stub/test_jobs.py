"""Jobs through REST and the link: dispatch, content, results, and what goes wrong with them."""

import asyncio
import hashlib
import os
from pathlib import Path

import aiohttp
import pytest

from agent.errors import Outcome, Reason
from agent.protocol.messages import Credit, JobCancel, JobRequest, JobSettled, Trailer
from tests.control_plane_stub.conftest import User
from tests.control_plane_stub.fake_agent import FakeAgent

MEBIBYTE = 1024 * 1024


async def test_a_job_runs_to_its_result(user: User, agent: FakeAgent) -> None:
    """Submitted, requested, accepted, answered, settled."""
    job = await user.submit(kind="check-connector", parameters={"connector": "ml-s3"})
    request = await agent.next(JobRequest)
    await agent.accept(job)
    await agent.finish(job, result={"ok": True})
    await agent.next(JobSettled)

    view = await user.job(job)
    assert (request.job, request.parameters) == (job, {"connector": "ml-s3"})
    assert (view["state"], view["result"]) == ("succeeded", {"ok": True})


async def test_content_arrives_whole(user: User, agent: FakeAgent) -> None:
    """Bytes, hash and entity tag are those of the agent; the headers disarm it."""
    data = os.urandom(3 * MEBIBYTE + 17)
    job = await user.submit()
    await agent.serve((await agent.next(JobRequest)).job, data)
    await user.ended(job)

    async with user.session.get(f"/api/v1/jobs/{job}/content") as response:
        assert await response.read() == data
        assert response.headers["ETag"] == f'"{hashlib.sha256(data).hexdigest()}"'
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert response.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("wanted", "status", "expected"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=nonsense", 200, b"0123456789"),
    ],
)
async def test_ranges_of_content(
    user: User, agent: FakeAgent, wanted: str, status: int, expected: bytes
) -> None:
    job = await user.submit()
    await agent.serve((await agent.next(JobRequest)).job, b"0123456789")
    await user.ended(job)

    headers = {"Range": wanted}
    async with user.session.get(f"/api/v1/jobs/{job}/content", headers=headers) as response:
        assert (response.status, await response.read()) == (status, expected)


async def test_a_range_that_is_not_there(user: User, agent: FakeAgent) -> None:
    job = await user.submit()
    await agent.serve((await agent.next(JobRequest)).job, b"0123456789")
    await user.ended(job)

    headers = {"Range": "bytes=10-"}
    async with user.session.get(f"/api/v1/jobs/{job}/content", headers=headers) as response:
        assert (response.status, response.headers["Content-Range"]) == (416, "bytes */10")


async def test_content_streams_while_the_job_runs(user: User, agent: FakeAgent) -> None:
    """Readers get what is there before the end is, but for the last byte."""
    data = os.urandom(512 * 1024)
    job = await user.submit()
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.begin(job, data)

    async with user.session.get(f"/api/v1/jobs/{job}/content") as response:
        head = await response.content.readexactly(len(data) - 1)
        assert (await user.job(job))["state"] == "running"
        await agent.finish(job, data)
        assert head + await response.read() == data


async def test_incomplete_content_never_ends_cleanly(user: User, agent: FakeAgent) -> None:
    """All announced bytes came, but the hash is another: the reader's connection is aborted."""
    data = os.urandom(100_000)
    job = await user.submit()
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.begin(job, data)

    async with user.session.get(f"/api/v1/jobs/{job}/content") as response:
        await response.content.readexactly(len(data) - 1)
        await agent.finish(job, trailer=Trailer(bytes=len(data), sha256="0" * 64))
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    assert (await user.ended(job))["reason"] == "truncated"


async def test_content_of_a_failed_job_is_an_error(user: User, agent: FakeAgent) -> None:
    job = await user.submit()
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.finish(job, outcome=Outcome.FAILED, reason=Reason.ACCESS_DENIED, message="no")

    answer = await user.json("GET", f"/jobs/{job}/content", expect=403)
    assert answer["error"]["reason"] == "access_denied"


async def test_a_slow_reader_stops_the_credit(user: User, agent: FakeAgent) -> None:
    """No more than the window is sent ahead of a reader who does not read."""
    data = bytes(64 * MEBIBYTE)
    job = await user.submit()
    await agent.next(JobRequest)
    reading = asyncio.create_task(user.session.get(f"/api/v1/jobs/{job}/content"))
    await agent.accept(job)
    await user.until(job, lambda view: view["state"] == "running")
    await agent.begin(job, data)
    response = await reading
    await asyncio.gather(*(user.job(job) for _ in range(20)))

    have = (await user.job(job))["progress"]["bytes"]
    assert have < 32 * MEBIBYTE
    response.close()
    await agent.next(Credit)


async def test_without_a_reader_the_spool_takes_it(user: User, agent: FakeAgent) -> None:
    data = os.urandom(9 * MEBIBYTE)
    job = await user.submit()
    await agent.next(JobRequest)
    await agent.serve(job, data)

    view = await user.ended(job)
    assert (view["state"], view["progress"]["bytes"]) == ("succeeded", len(data))


async def test_a_log_can_be_read_and_followed(user: User, agent: FakeAgent) -> None:
    job = await user.submit(kind="trigger-pipeline")
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.log(job, 0, "première ligne\n")
    following = asyncio.create_task(user.session.get(f"/api/v1/jobs/{job}/log?follow=true"))
    await agent.log(job, 16, "second line\n")
    await agent.finish(job)

    async with await following as response:
        assert await response.text() == "première ligne\nsecond line\n"
    async with user.session.get(f"/api/v1/jobs/{job}/log") as response:
        assert await response.text() == "première ligne\nsecond line\n"


async def test_a_policy_refusal_is_final(user: User, agent: FakeAgent) -> None:
    job = await user.submit()
    await agent.refuse((await agent.next(JobRequest)).job, Reason.POLICY_DENIED)

    view = await user.ended(job)
    assert (view["state"], view["reason"]) == ("refused", "policy_denied")


async def test_a_busy_agent_is_asked_again(user: User, agent: FakeAgent) -> None:
    job = await user.submit()
    await agent.refuse((await agent.next(JobRequest)).job, Reason.BUSY, retry_after_s=0.05)

    again = await agent.next(JobRequest)
    assert again.job == job


async def test_no_more_jobs_than_the_agent_takes(user: User, agent: FakeAgent) -> None:
    """The fifth waits until one of four has ended."""
    jobs = [await user.submit() for _ in range(5)]
    first = [(await agent.next(JobRequest)).job for _ in range(4)]
    assert (await user.job(jobs[4]))["state"] == "queued"

    await agent.accept(first[0])
    await agent.finish(first[0])
    assert (await agent.next(JobRequest)).job == jobs[4]


async def test_cancelling_a_running_job(user: User, agent: FakeAgent) -> None:
    """The agent is asked; its result is the end."""
    job = await user.submit()
    await agent.next(JobRequest)
    await agent.accept(job)
    await user.json("POST", f"/jobs/{job}/cancel", expect=202)
    assert (await agent.next(JobCancel)).job == job

    await agent.finish(job, outcome=Outcome.CANCELLED)
    assert (await user.ended(job))["state"] == "cancelled"


async def test_a_queued_job_waits_no_longer_than_its_deadline(user: User) -> None:
    view = await user.ended(await user.submit(agent="nobody", deadline_s=0.05))
    assert (view["state"], view["reason"]) == ("timed_out", "deadline")


async def test_cancelling_a_queued_job(user: User) -> None:
    job = await user.submit(agent="nobody")
    await user.json("POST", f"/jobs/{job}/cancel", expect=202)
    assert (await user.job(job))["state"] == "cancelled"


async def test_labels_choose_an_agent(user: User, agent: FakeAgent) -> None:
    elsewhere = await user.submit(agent=None, labels={"region": "us"})
    here = await user.submit(agent=None, labels={"region": "eu"})

    assert (await agent.next(JobRequest)).job == here
    assert (await user.job(elsewhere))["state"] == "queued"


async def test_the_same_idempotency_key_is_the_same_job(user: User) -> None:
    body = {"agent": "nobody", "parameters": {"uri": "s3://b/k"}, "idempotency_key": "k1"}
    first = await user.submit(**body)

    assert await user.submit(**body) == first
    changed = {"kind": "fetch-artifact"} | body | {"parameters": {"uri": "s3://b/other"}}
    answer = await user.json("POST", "/jobs", json=changed, expect=409)
    assert answer["error"]["reason"] == "duplicate_conflict"


async def test_a_race_of_one_idempotency_key_has_one_winner(user: User) -> None:
    body = {"agent": "nobody", "idempotency_key": "k1"}
    ids = await asyncio.gather(*(user.submit(**body) for _ in range(20)))
    assert len(set(ids)) == 1


async def test_a_failed_job_leaves_no_bytes_behind(
    user: User, agent: FakeAgent, tmp_path: Path
) -> None:
    job = await user.submit()
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.begin(job, bytes(MEBIBYTE))
    await agent.finish(job, outcome=Outcome.FAILED, reason=Reason.STORE_UNAVAILABLE)
    await user.ended(job)
    other = await user.submit()
    await agent.serve((await agent.next(JobRequest)).job, b"abc")
    await user.ended(other)

    assert [path.name for path in (tmp_path / "state" / "content").iterdir()] == [other]


async def test_an_object_that_changed_is_never_mixed(user: User, agent: FakeAgent) -> None:
    """The second announcement has another entity tag than the bytes that are here."""
    job = await user.submit()
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.begin(job, bytes(1000))
    await user.until(job, lambda view: view["progress"]["bytes"] == 1000)
    await agent.begin(job, bytes(1000), etag="v2")

    assert (await agent.next(JobCancel)).job == job
    assert (await user.ended(job))["reason"] == "changed"


async def test_lists_are_newest_first_and_filtered(user: User) -> None:
    jobs = [await user.submit(agent=name) for name in ("a", "b", "a")]

    listed = await user.json("GET", "/jobs?agent=a&state=queued&limit=5")
    assert [view["id"] for view in listed["jobs"]] == [jobs[2], jobs[0]]
    await user.json("GET", "/jobs?limit=0", expect=400)
