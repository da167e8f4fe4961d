"""Content that comes by HTTP: from whom it is taken, in which order, and how fast."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.protocol.messages import Credit, JobCancel, JobContent, JobRequest, JobSettled
from agent.protocol.upload import UPLOAD_PATH, Segment
from control_plane_stub.agents import uploads
from tests.control_plane_stub.conftest import User, plane_in
from tests.control_plane_stub.fake_agent import FakeAgent, Identity

DATA = os.urandom(300_000)
Told = tuple[int, Any]


async def told(response: aiohttp.ClientResponse) -> Told:
    text = await response.text()
    return response.status, json.loads(text) if text.startswith("{") else text


async def put(
    user: User,
    identity: Identity,
    job: str,
    segment: Segment,
    body: Any = None,
    *,
    proof: str | None = None,
    **headers: str,
) -> Told:
    """Make one request of an upload; *body* may be a part of what is announced, as a generator."""
    url = f"{user.base}{UPLOAD_PATH}/{job}"
    headers = {
        "Authorization": f"Bearer {proof or identity.proof(url)}",
        "Content-Range": segment.content_range(),
        "Content-Length": str(segment.stop - segment.first),
        **headers,
    }
    async with user.session.put(url, data=body, headers=headers) as response:
        return await told(response)


async def send(user: User, agent: FakeAgent, job: str, first: int, stop: int) -> Told:
    """Send these bytes of `DATA`."""
    segment = Segment(first, stop, len(DATA))
    return await put(user, agent.identity, job, segment, DATA[first:stop])


async def ask(user: User, agent: FakeAgent, job: str) -> Told:
    return await put(user, agent.identity, job, Segment(0, 0, len(DATA)))


async def announced(user: User, agent: FakeAgent, **how: Any) -> str:
    """Return a job whose content is announced as an upload."""
    job = await user.submit(**how)
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.send(JobContent(job=job, size=len(DATA), etag="v1", lane="upload"))
    return job


async def arrived(user: User, job: str, size: int) -> int:
    """Wait until so many bytes are here; return how many are."""
    view = await user.until(job, lambda view: view["progress"]["bytes"] >= size)
    return int(view["progress"]["bytes"])


async def content(user: User, job: str) -> bytes:
    async with user.session.get(f"/api/v1/jobs/{job}/content") as response:
        return await response.read()


async def test_what_is_uploaded_is_the_content(agent: FakeAgent, user: User) -> None:
    job = await announced(user, agent)

    assert (200, {"offset": 100_000}) == await send(user, agent, job, 0, 100_000)
    assert (200, {"offset": 300_000}) == await send(user, agent, job, 100_000, 300_000)
    await agent.finish(job, DATA)

    assert "succeeded" == (await user.ended(job))["state"]
    assert DATA == await content(user, job)
    await agent.next(JobSettled)


async def test_content_that_is_not_kept_goes_to_its_reader(agent: FakeAgent, user: User) -> None:
    job = await announced(user, agent, content="relay")
    reading = asyncio.create_task(content(user, job))

    assert 200 == (await send(user, agent, job, 0, len(DATA)))[0]
    await agent.finish(job, DATA)

    assert DATA == await reading


@pytest.mark.parametrize("first", [99_999, 100_001, 0, 299_999])
async def test_only_the_next_byte_is_taken(agent: FakeAgent, user: User, first: int) -> None:
    """A gap would be a hole, and what is here already was agreed to be here."""
    job = await announced(user, agent)
    await send(user, agent, job, 0, 100_000)

    status, _ = await send(user, agent, job, first, 300_000)

    assert 409 == status
    assert (200, {"offset": 100_000}) == await ask(user, agent, job)


@pytest.mark.parametrize(
    ("segment", "length"),
    [(Segment(0, 10, len(DATA) + 1), 10), (Segment(0, 10, 10), 10), (Segment(0, 11, len(DATA)), 10),
     (Segment(0, 9, len(DATA)), 10), (Segment(0, 0, len(DATA)), 10)],
)  # fmt: skip
async def test_sizes_have_to_agree(
    agent: FakeAgent, user: User, segment: Segment, length: int
) -> None:
    """Announced, named and sent."""
    job = await announced(user, agent)

    header = {"Content-Length": str(length)}
    status, _ = await put(user, agent.identity, job, segment, bytes(length), **header)

    assert 400 == status
    assert (200, {"offset": 0}) == await ask(user, agent, job)


@pytest.mark.parametrize("text", ["", "bytes 5-4/10", "bytes 0-9/5", "lines 1-2/3", "bytes 0-9/*"])
async def test_a_range_that_is_none_is_refused(agent: FakeAgent, user: User, text: str) -> None:
    job = await announced(user, agent)
    header = {"Content-Range": text}

    status, _ = await put(user, agent.identity, job, Segment(0, 10, 10), bytes(10), **header)

    assert 400 == status


async def test_a_stranger_is_refused(agent: FakeAgent, user: User) -> None:
    """As on a link, and before a byte is read."""
    job = await announced(user, agent)
    segment = Segment(0, 10, len(DATA))
    url = f"{user.base}{UPLOAD_PATH}/{job}"
    proofs = {
        "no proof": "x",
        "nobody's": Identity().proof(url),
        "for another path": agent.identity.proof(f"{user.base}{UPLOAD_PATH}/another"),
        "for the link": agent.identity.proof(f"{user.base}/agent/v1/connect"),
        "for another host": agent.identity.proof(f"http://evil.example{UPLOAD_PATH}/{job}"),
        "old": agent.identity.proof(url, iat=1),
    }

    for name, proof in proofs.items():
        answer = await put(user, agent.identity, job, segment, bytes(10), proof=proof)
        assert (401, "reason") == (answer[0], *answer[1]), name


async def test_a_proof_is_good_once(agent: FakeAgent, user: User) -> None:
    job = await announced(user, agent)
    proof = agent.identity.proof(f"{user.base}{UPLOAD_PATH}/{job}")
    segment = Segment(0, 0, len(DATA))

    first = await put(user, agent.identity, job, segment, proof=proof)
    second = await put(user, agent.identity, job, segment, proof=proof)

    assert [200, 401] == [first[0], second[0]]


async def test_a_job_takes_content_of_its_own_instance_only(agent: FakeAgent, user: User) -> None:
    job = await announced(user, agent)
    other = await user.enrolled(Identity())

    status, _ = await put(user, other, job, Segment(0, 10, len(DATA)), bytes(10))

    assert 410 == status


async def test_a_revoked_instance_is_refused(agent: FakeAgent, user: User) -> None:
    job = await announced(user, agent)
    name, instance = agent.identity.agent, agent.identity.instance
    await user.json("DELETE", f"/agents/{name}/instances/{instance}")

    assert (403, {"reason": "revoked"}) == await send(user, agent, job, 0, 10)


async def test_a_job_that_has_ended_takes_nothing(agent: FakeAgent, user: User) -> None:
    job = await announced(user, agent)
    await agent.finish(job, outcome="failed", reason="internal")
    await user.ended(job)

    assert 410 == (await send(user, agent, job, 0, 10))[0]


async def test_a_cancelled_job_takes_no_more_of_its_upload(agent: FakeAgent, user: User) -> None:
    job = await announced(user, agent)
    ended = asyncio.Event()

    async def goes_on() -> Any:
        yield DATA[:50_000]
        await ended.wait()
        yield DATA[50_000:]

    segment = Segment(0, len(DATA), len(DATA))
    sending = asyncio.create_task(put(user, agent.identity, job, segment, goes_on()))
    await arrived(user, job, 50_000)
    await user.json("POST", f"/jobs/{job}/cancel", expect=202)
    await agent.next(JobCancel)
    await agent.finish(job, outcome="cancelled")
    await user.ended(job)
    ended.set()

    assert 410 == (await sending)[0]


async def test_an_announcement_may_be_slower_than_the_upload(agent: FakeAgent, user: User) -> None:
    job = await user.submit()
    await agent.next(JobRequest)
    await agent.accept(job)
    sending = asyncio.create_task(send(user, agent, job, 0, len(DATA)))
    await asyncio.sleep(0)

    await agent.send(JobContent(job=job, size=len(DATA), etag="v1", lane="upload"))

    assert (200, {"offset": len(DATA)}) == await sending


async def test_an_announcement_that_does_not_come_is_not_awaited_for_ever(
    agent: FakeAgent, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "ANNOUNCED_S", 0.05)
    job = await user.submit()
    await agent.next(JobRequest)

    status, body = await send(user, agent, job, 0, 10)

    assert (503, 1) == (status, body["retry_after"])


async def test_what_came_before_a_break_is_kept(agent: FakeAgent, user: User) -> None:
    job = await announced(user, agent)

    async def half() -> Any:
        yield DATA[:100_000]
        await arrived(user, job, 100_000)
        raise ConnectionAbortedError

    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await put(user, agent.identity, job, Segment(0, 200_000, len(DATA)), half())

    assert (200, {"offset": 100_000}) == await ask(user, agent, job)


async def test_a_new_request_ends_the_one_that_hangs(agent: FakeAgent, user: User) -> None:
    """The agent has given that up, and counts on what it is told now."""
    job = await announced(user, agent)
    begun = asyncio.Event()

    async def hangs() -> Any:
        yield DATA[:50_000]
        await arrived(user, job, 50_000)
        begun.set()
        await asyncio.Event().wait()

    segment = Segment(0, 200_000, len(DATA))
    hanging = asyncio.create_task(put(user, agent.identity, job, segment, hangs()))
    await begun.wait()

    assert (200, {"offset": 50_000}) == await ask(user, agent, job)
    assert (200, {"offset": 300_000}) == await send(user, agent, job, 50_000, 300_000)
    with pytest.raises(aiohttp.ClientError):
        await hanging


async def test_a_reader_that_stops_holds_back_the_upload(agent: FakeAgent, user: User) -> None:
    """The body is read no faster than somebody takes it; memory stays what it is."""
    job = await announced(user, agent, content="relay")
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            yield bytes(256 * 1024)
            sent += 256 * 1024

    await agent.send(JobContent(job=job, size=2**40, etag="v1", lane="upload"))
    sending = asyncio.create_task(
        put(user, agent.identity, job, Segment(0, 2**40, 2**40), endless())
    )
    await arrived(user, job, 2**20)
    for _ in range(20):
        assert await arrived(user, job, 0) < 8 * 2**20
    sending.cancel()


async def test_content_goes_on_in_blocks_and_back(agent: FakeAgent, user: User) -> None:
    """From an earlier byte than the one that is here; credit comes at once."""
    job = await announced(user, agent)
    await send(user, agent, job, 0, 100_000)

    await agent.begin(job, DATA, offset=60_000)
    await agent.next(Credit)
    await agent.finish(job, DATA)

    assert "succeeded" == (await user.ended(job))["state"]
    assert DATA == await content(user, job)


async def test_an_upload_that_was_given_up_brings_nothing_more(
    agent: FakeAgent, user: User
) -> None:
    """Though its late bytes are still on the way when the rest comes in blocks."""
    job = await announced(user, agent)
    over = asyncio.Event()

    async def late() -> Any:
        yield DATA[:50_000]
        await over.wait()
        yield DATA[50_000:]

    segment = Segment(0, len(DATA), len(DATA))
    sending = asyncio.create_task(put(user, agent.identity, job, segment, late()))
    await arrived(user, job, 50_000)

    assert agent.session is not None
    await agent.send(JobContent(job=job, size=len(DATA), etag="v1"))
    agent.session.open_stream(job, offset=50_000)
    agent.session.offer(job, DATA[50_000:200_000])
    await agent.pump()
    await arrived(user, job, 200_000)
    over.set()
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await sending

    assert 200_000 == await arrived(user, job, 0)


@pytest.mark.parametrize(("offered", "there"), [(0, True), (4096, True), (None, False)])
async def test_uploads_are_offered_as_configured(
    tmp_path: Path, offered: int | None, there: bool
) -> None:
    async with plane_in(tmp_path / "state", upload_from=offered) as user:
        identity = await user.enrolled(Identity())
        async with FakeAgent(user.base, identity).connected() as agent:
            offer = agent.welcome.upload
            status, _ = await ask(user, agent, "j-1")

    assert (there, 410 if there else 404) == (offer is not None, status)
    assert offer is None or (UPLOAD_PATH, offered) == (offer.path, offer.min_bytes)


async def test_a_restart_goes_on_where_the_file_ends(tmp_path: Path) -> None:
    """Also before the agent's link is back: the job is that instance's."""
    async with plane_in(tmp_path / "state") as user:
        identity = await user.enrolled(Identity())
        async with FakeAgent(user.base, identity).connected() as agent:
            job = await announced(user, agent)
            await send(user, agent, job, 0, 100_000)
    async with plane_in(tmp_path / "state") as user:
        agent = FakeAgent(user.base, identity)
        assert (200, {"offset": 100_000}) == await ask(user, agent, job)
        assert (200, {"offset": 300_000}) == await send(user, agent, job, 100_000, 300_000)
