"""Artifacts in the answer itself, and content that is passed on without being kept."""

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.errors import Outcome, Reason
from agent.protocol.messages import JobCancel, JobRequest, JobSettled, Trailer
from tests.control_plane_stub.conftest import User
from tests.control_plane_stub.fake_agent import FakeAgent

WANTED = {"agent": "prod-eu", "uri": "s3://ml/model"}
MEBIBYTE = 1024 * 1024


def fetching(user: User, **more: Any) -> "asyncio.Task[aiohttp.ClientResponse]":
    return asyncio.create_task(user.session.post("/api/v1/fetch", json=WANTED | more))


async def test_a_small_artifact_comes_in_one_answer(user: User, agent: FakeAgent) -> None:
    answer = fetching(user, range=[0, 9])
    request = await agent.next(JobRequest)
    await agent.serve(request.job, b"0123456789")

    async with await answer as response:
        assert (response.status, await response.read()) == (200, b"0123456789")
        assert response.headers["Content-Type"] == "application/octet-stream"
    assert request.parameters == {"uri": "s3://ml/model", "range": [0, 9]}
    await agent.next(JobSettled)
    assert (await user.job(request.job))["state"] == "succeeded"


async def test_a_large_artifact_is_passed_on(user: User, agent: FakeAgent, tmp_path: Path) -> None:
    """All of it arrives, past the window several times, and nothing of it is on the disk."""
    data = os.urandom(20 * MEBIBYTE + 1)
    answer = fetching(user)
    await agent.serve((await agent.next(JobRequest)).job, data)

    async with await answer as response:
        assert await response.read() == data
    assert list((tmp_path / "state" / "content").iterdir()) == []


async def test_an_empty_artifact(user: User, agent: FakeAgent) -> None:
    answer = fetching(user)
    await agent.serve((await agent.next(JobRequest)).job, b"")

    async with await answer as response:
        assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.POLICY_DENIED, 403),
        (Reason.NOT_FOUND, 404),
        (Reason.STORE_UNAVAILABLE, 502),
        (Reason.DEADLINE, 504),
    ],
)
async def test_refusals_have_a_status(
    user: User, agent: FakeAgent, reason: Reason, status: int
) -> None:
    answer = fetching(user)
    job = (await agent.next(JobRequest)).job
    await agent.refuse(job, reason)

    async with await answer as response:
        error = (await response.json())["error"]
        assert (response.status, error["reason"], error["job"]) == (status, reason, job)


async def test_a_failure_in_the_middle_aborts_the_answer(user: User, agent: FakeAgent) -> None:
    data = os.urandom(2 * MEBIBYTE)
    answer = fetching(user)
    job = (await agent.next(JobRequest)).job
    await agent.accept(job)
    await agent.begin(job, data)

    async with await answer as response:
        await response.content.readexactly(MEBIBYTE)
        trailer = Trailer(bytes=MEBIBYTE)
        assert agent.session is not None
        agent.session.drop_stream(job)
        await agent.finish(
            job, outcome=Outcome.FAILED, reason=Reason.STORE_UNAVAILABLE, trailer=trailer
        )
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_wrong_hash_never_looks_whole(user: User, agent: FakeAgent) -> None:
    answer = fetching(user)
    job = (await agent.next(JobRequest)).job
    await agent.accept(job)
    await agent.begin(job, b"abc")
    await agent.finish(job, trailer=Trailer(bytes=3, sha256="0" * 64))

    async with await answer as response:
        assert (response.status, (await response.json())["error"]["reason"]) == (502, "truncated")


async def test_who_hangs_up_cancels(user: User, agent: FakeAgent) -> None:
    answer = fetching(user)
    job = (await agent.next(JobRequest)).job
    answer.cancel()
    assert (await agent.next(JobCancel)).job == job


async def test_no_agent_within_the_deadline(user: User) -> None:
    async with await fetching(user, deadline_s=0.05) as response:
        assert (response.status, (await response.json())["error"]["reason"]) == (504, "deadline")


async def test_relayed_content_has_one_reader(user: User, agent: FakeAgent) -> None:
    data = os.urandom(3 * MEBIBYTE)
    job = await user.submit(content="relay")
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.begin(job, data)

    async with user.session.get(f"/api/v1/jobs/{job}/content") as response:
        head = await response.content.readexactly(MEBIBYTE)
        second = await user.json("GET", f"/jobs/{job}/content", expect=409)
        await agent.finish(job, data)
        assert head + await response.read() == data
    assert second["error"]["reason"] == "content_taken"


async def test_relayed_content_waits_for_its_reader_after_the_end(
    user: User, agent: FakeAgent
) -> None:
    """What fits into the initial credit can be read once when the job has ended."""
    job = await user.submit(content="relay")
    await agent.serve((await agent.next(JobRequest)).job, b"abc")
    await user.ended(job)

    async with user.session.get(f"/api/v1/jobs/{job}/content") as response:
        assert await response.read() == b"abc"
    await user.json("GET", f"/jobs/{job}/content", expect=409)


async def test_credit_for_relayed_content_waits_for_its_reader(
    user: User, agent: FakeAgent
) -> None:
    """Only the initial credit is sent before anybody reads."""
    job = await user.submit(content="relay")
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.begin(job, bytes(8 * MEBIBYTE))

    view = await user.until(job, lambda view: view["progress"]["bytes"] > 0)
    assert view["progress"]["bytes"] <= MEBIBYTE
    assert job not in agent.credit
