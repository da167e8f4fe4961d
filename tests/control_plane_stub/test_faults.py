"""Scripted faults do to links what they say, and recordings hold what crossed them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from agent.protocol.messages import CONNECT_PATH, JobCancel, JobRequest
from control_plane_stub.agents.recording import read_records
from tests.control_plane_stub.conftest import User, plane_in
from tests.control_plane_stub.fake_agent import FakeAgent, Identity, dialled


async def script(user: User, fault: str, **more: Any) -> Any:
    body = {"agent": "prod-eu", "fault": fault} | more
    return await user.json("POST", "/faults", json=body, expect=201)


async def test_cut_ends_the_link_without_a_close_frame(user: User, agent: FakeAgent) -> None:
    await script(user, "cut")
    assert (await agent.ended())[0] == 1006


async def test_cuts_on_the_way_lose_and_repeat_nothing(user: User) -> None:
    """Each link lives for some bytes only; the content arrives whole."""
    data = bytes(range(256)) * 8192
    agent = FakeAgent(user.base, await user.enrolled(Identity()))
    async with agent.connected():
        job = await user.submit()
        await agent.next(JobRequest)
        await script(user, "cut", after_bytes=500_000, count=3, direction="in")
        await agent.accept(job)
        await _insisting(agent.begin(job, data))
        await _insisting(agent.finish(job, data))
        await agent.ended()
    while (await user.job(job))["ended_at"] is None:
        async with agent.connected():
            ended = asyncio.create_task(agent.ended())
            done = asyncio.create_task(user.ended(job))
            await asyncio.wait((ended, done), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            done.cancel()
    async with user.session.get(f"/api/v1/jobs/{job}/content") as response:
        assert await response.read() == data
    assert (await user.json("GET", "/faults"))["faults"] == []


async def _insisting(sending: Any) -> None:
    try:
        await sending
    except ConnectionError:
        return


async def test_refuse_turns_connects_away(user: User) -> None:
    identity = await user.enrolled(Identity())
    await script(user, "refuse", reason="overloaded", retry_after=7)

    with pytest.raises(InvalidStatus) as refused:
        async with dialled(user.base, CONNECT_PATH, identity):
            pass
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "7"
    async with FakeAgent(user.base, identity).connected():
        pass


async def test_duplicates_are_dropped_by_the_session(user: User, agent: FakeAgent) -> None:
    await script(user, "duplicate", count=2)
    job = await user.submit()
    await agent.next(JobRequest)
    await user.json("POST", f"/jobs/{job}/cancel", expect=202)

    assert (await agent.next(JobCancel)).job == job
    assert agent.session is not None
    assert agent.session.received == 2


async def test_reorder_leaves_a_gap_that_the_agent_notices(user: User, agent: FakeAgent) -> None:
    await script(user, "reorder")
    await user.submit()
    await user.submit()

    assert agent.reading is not None
    with pytest.raises(Exception, match="frame 2 came after frame 0"):
        await asyncio.wait_for(agent.reading, 5)


@pytest.mark.parametrize("kind", ["malformed", "nested", "gap", "binary"])
async def test_garbage_is_no_frame(user: User, agent: FakeAgent, kind: str) -> None:
    await script(user, "garbage", garbage=kind)
    await user.submit()

    assert agent.reading is not None
    with pytest.raises(Exception, match="frame"):
        await asyncio.wait_for(agent.reading, 5)


async def test_stall_holds_frames_back(user: User, agent: FakeAgent) -> None:
    await script(user, "stall", seconds=0.3)
    started = asyncio.get_running_loop().time()
    await user.submit()
    await agent.next(JobRequest)
    assert asyncio.get_running_loop().time() - started >= 0.25


async def test_delay_holds_each_frame_back(user: User, agent: FakeAgent) -> None:
    await script(user, "delay", seconds=0.2)
    started = asyncio.get_running_loop().time()
    await user.submit()
    await agent.next(JobRequest)
    assert asyncio.get_running_loop().time() - started >= 0.15


async def test_faults_are_listed_and_ended(user: User) -> None:
    made = await script(user, "cut", after_bytes=1000, count=5)
    assert (await user.json("GET", "/faults?agent=prod-eu"))["faults"] == [made]

    await user.json("DELETE", "/faults?agent=other")
    assert (await user.json("GET", "/faults"))["faults"] == [made]
    await user.json("DELETE", "/faults")
    assert (await user.json("GET", "/faults"))["faults"] == []


async def test_a_recording_holds_all_but_what_opens_our_own_door(tmp_path: Path) -> None:
    """Frames both ways and the headers of handshakes; no proof, no join token."""
    file = tmp_path / "frames"
    async with plane_in(tmp_path / "state", record_frames=file) as user:
        identity = await user.enrolled(Identity())
        async with FakeAgent(user.base, identity).connected() as agent:
            job = await user.submit()
            await agent.serve((await agent.next(JobRequest)).job, b"the-content")
            await user.ended(job)

    records = list(read_records(file))
    assert {record.direction for record in records} == {"in", "out", "headers"}
    everything = b"\n".join(record.data for record in records)
    assert b"the-content" in everything
    assert b"cajt_" not in everything
    assert b"Bearer" not in everything
