"""The agent's side of an upload: every byte arrives once, or goes another way."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.errors import JobError
from agent.identity import Identity
from agent.link import upload
from agent.link.channel import Channel
from agent.link.dial import Endpoint
from agent.link.lanes import Lanes
from agent.link.uploads import Uploads
from agent.protocol.codec import decode, decode_block
from agent.protocol.messages import FROM_AGENT, JobContent, UploadOffer
from tests.doubles.upload_server import Request, UploadServer, takes, upload_server
from tests.link.agents import new_uploads
from tests.waiting import until

SEGMENT = 64 * 1024
BLOCK = 10_000
OFFER = UploadOffer(path="/up", min_bytes=1)


class Sender:
    """The lanes of an agent, and what of a job went which way."""

    def __init__(self, uploads: Uploads) -> None:
        self.uploads = uploads
        self.channel = Channel()
        self.lanes = Lanes(self.channel, uploads)
        self.given = 0
        self.sent: list[str | bytes] = []

    async def send(self, content: bytes, *, job: str = "j-1", have: int = 0) -> None:
        """Send *content* as a job does, behind what the far end has."""
        self.lanes.announce(JobContent(job=job, size=len(content), etag="v1"), offset=have)
        for start in range(have, len(content), BLOCK):
            block = content[start : start + BLOCK]
            self.given = start + len(block)
            await self.lanes.send_block(job, block)
        await self.lanes.flush(job)

    @asynccontextmanager
    async def linked(self) -> AsyncIterator[None]:
        """Have a link that takes whatever it is given."""
        link = asyncio.create_task(self._run_link())
        yield
        link.cancel()

    async def _run_link(self) -> None:
        while True:
            while (frame := self.channel.next_frame()) is not None:
                self.sent.append(frame)
            await self.channel.wait_for_frames()

    def frames(self) -> tuple[list[str | None], list[tuple[int, bytes]]]:
        """Return the lanes that were announced over the link, and the blocks that went there."""
        while (frame := self.channel.next_frame()) is not None:
            self.sent.append(frame)
        announced = [decode(text, FROM_AGENT).lane for text in self.sent if isinstance(text, str)]
        blocks = [decode_block(frame) for frame in self.sent if isinstance(frame, bytes)]
        return announced, [(block.offset, bytes(block.data)) for block in blocks]


@asynccontextmanager
async def sending(
    server: UploadServer, identity: Identity, offer: UploadOffer | None = OFFER, **options
) -> AsyncIterator[Sender]:
    uploads = new_uploads(Endpoint(server.url), identity, segment=SEGMENT, **options)
    uploads.welcome(offer)
    sender = Sender(uploads)
    async with sender.linked():
        yield sender
    uploads.close()
    await until(lambda: not threads(), message="the end of the uploads' threads")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("upload.")]


def answering(status: int, body: str = "", **headers: str):
    async def script(server: UploadServer, request: Request) -> None:
        await request.body()
        request.answer(status, body, **headers)

    return script


def cut_after(size: int, *, keeping: int | None = None):
    """Take *keeping* bytes of a body, then break the connection."""

    async def script(server: UploadServer, request: Request) -> None:
        body = await request.reader.readexactly(size)
        server.content += body[:keeping]
        request.cut()

    return script


@pytest.fixture
def content() -> bytes:
    return os.urandom(10 * SEGMENT + 17)


async def test_segments_follow_each_other_on_one_connection(identity, content):
    """Without a gap, none longer than agreed, each with its size and the whole's."""
    async with upload_server() as server, sending(server, identity) as sender:
        await sender.send(content)

    assert content == server.content
    assert (1, 11) == (server.connections, len(server.requests))
    assert {"/up/j-1"} == {request.path for request in server.requests}
    assert {len(content)} == {request.segment.size for request in server.requests}
    assert (["upload"], []) == sender.frames()


async def test_every_request_has_a_proof_of_its_own(identity, content):
    async with upload_server() as server, sending(server, identity) as sender:
        await sender.send(content)

    assert 11 == len({request.headers["Authorization"] for request in server.requests})


async def test_a_connection_serves_the_next_job(identity, content):
    async with upload_server() as server, sending(server, identity) as sender:
        await sender.send(content)
        await until(lambda: not threads())
        server.content.clear()
        await sender.send(content, job="j-2")

    assert 1 == server.connections


@pytest.mark.parametrize(
    ("size", "have", "lane"),
    [(999, 0, None), (1000, 0, "upload"), (1000, 1, None), (5000, 4000, "upload"), (0, 0, None)],
)
async def test_what_is_left_decides_about_the_lane(identity, size, have, lane):
    """From the larger of both sides' sizes on."""
    content = os.urandom(size)
    offer = UploadOffer(path="/up", min_bytes=10)
    async with upload_server() as server, sending(server, identity, offer, upload_from=1000) as one:
        server.content += content[:have]
        await one.send(content, have=have)

    announced, blocks = one.frames()
    assert [lane] == announced
    sent = bytes(server.content[have:]) if lane else b"".join(data for _, data in blocks)
    assert content[have:] == sent


@pytest.mark.parametrize(
    ("offer", "upload_from"),
    [(None, 1), (OFFER, None), (UploadOffer(path="/up", min_bytes=10**9), 1)],
)
async def test_without_offer_or_wish_all_goes_in_blocks(identity, content, offer, upload_from):
    async with upload_server() as server:
        async with sending(server, identity, offer, upload_from=upload_from) as sender:
            await sender.send(content)

    assert 0 == server.connections
    assert content == b"".join(data for _, data in sender.frames()[1])


async def test_what_came_in_before_a_cut_is_not_sent_again(identity, content):
    """The far end kept a part of a segment; the agent asks, and goes on there."""
    cuts = [takes, cut_after(40_000, keeping=33_333), takes, cut_after(1), takes, takes]
    async with upload_server(*cuts) as server, sending(server, identity) as sender:
        await sender.send(content)

    assert content == server.content
    asked = [request for request in server.requests if request.segment.asks]
    assert (2, 3) == (len(asked), server.connections)
    assert SEGMENT + 33_333 in {request.segment.first for request in server.requests}


@pytest.mark.parametrize("status", [408, 409, 416, 425, 429, 500, 502, 503, 504])
async def test_a_passing_refusal_is_asked_about_again(identity, content, status):
    scripts = [answering(status), takes]
    async with upload_server(*scripts) as server, sending(server, identity) as sender:
        await sender.send(content)

    assert content == server.content
    assert (["upload"], []) == sender.frames()


@pytest.mark.parametrize(
    "script",
    [*(answering(status) for status in (301, 400, 401, 403, 404, 405, 411, 413, 501)),
     answering(200, "<html>log in</html>"), answering(204)],
)  # fmt: skip
async def test_where_uploads_are_not_taken_all_goes_in_blocks(identity, content, script):
    """Also that of other jobs, until the next welcome offers them again."""
    async with upload_server(takes, script) as server, sending(server, identity) as sender:
        await sender.send(content)
        await sender.send(b"another", job="j-2")
        announced, blocks = sender.frames()
        sender.uploads.welcome(OFFER)
        server.content.clear()
        await sender.send(b"a third", job="j-3")

    assert ["upload", None, None] == announced
    assert SEGMENT == blocks[0][0]
    arrived = b"".join(data for _, data in blocks)
    assert content[SEGMENT:] + b"another" == arrived
    assert b"a third" == server.content


@pytest.mark.parametrize("offset", [SEGMENT + 1, 3 * SEGMENT, 2**63 - 1])
async def test_a_lie_about_bytes_that_were_not_sent_is_not_believed(identity, content, offset):
    """Nothing is left out because of it."""

    async def lies(server: UploadServer, request: Request) -> None:
        await request.body()
        request.taken(offset)

    async with upload_server(lies) as server, sending(server, identity) as sender:
        await sender.send(content)

    announced, blocks = sender.frames()
    assert ["upload", None] == announced
    assert content == b"".join(data for _, data in blocks)


async def test_a_segment_that_was_taken_in_part_is_asked_about(identity, content):
    async def takes_half(server: UploadServer, request: Request) -> None:
        server.content += (await request.body())[: SEGMENT // 2]
        request.taken(SEGMENT // 2)

    async with upload_server(takes_half) as server, sending(server, identity) as sender:
        await sender.send(content)

    assert content == server.content


async def test_content_that_the_far_end_lost_fails_the_job(identity, content):
    """What was acknowledged is not here any more."""

    async def forgets(server: UploadServer, request: Request) -> None:
        server.content.clear()
        await takes(server, request)

    # The third comes when the answer to the first has been read.
    scripts = [takes, takes, cut_after(1), forgets]
    async with upload_server(*scripts) as server, sending(server, identity) as sender:
        with pytest.raises(JobError):
            await sender.send(content)
        sender.lanes.drop_stream("j-1")


async def test_a_job_that_nobody_wants_any_more_fails(identity, content):
    async with upload_server(takes, answering(410)) as server, sending(server, identity) as sender:
        with pytest.raises(JobError):
            await sender.send(content)
        sender.lanes.drop_stream("j-1")


async def test_a_far_end_that_is_gone_is_given_up_for_this_job(identity, content, monkeypatch):
    """The lane stays open: the next job tries again."""
    monkeypatch.setattr(upload, "FRUITLESS", 2)
    scripts = [takes, takes, cut_after(1, keeping=0), *[cut_after(0)] * 3]
    async with upload_server(*scripts) as server, sending(server, identity) as sender:
        await sender.send(content)
        announced, blocks = sender.frames()
        server.content.clear()
        await sender.send(content, job="j-2")

    assert ["upload", None] == announced[:2]
    assert content[blocks[0][0] :] == b"".join(data for _, data in blocks)
    assert content == server.content


async def test_a_reader_that_stops_stops_the_job(identity, content):
    """Two segments and a block are in memory, and no more; then it goes on."""
    gate = asyncio.Event()

    async def waits(server: UploadServer, request: Request) -> None:
        await gate.wait()
        await takes(server, request)

    async with upload_server(takes, waits) as server, sending(server, identity) as sender:
        task = asyncio.create_task(sender.send(content))
        await until(lambda: sender.given >= 3 * SEGMENT)
        await until(lambda: len(server.requests) == 2)
        for _ in range(100):
            await asyncio.sleep(0)
        assert sender.given <= 3 * SEGMENT + BLOCK
        gate.set()
        await task

    assert content == server.content


async def test_at_most_two_requests_are_not_answered(identity, content):
    """And the second is on its way before the first is answered: no round trip is waited for."""
    begun = []

    async def slow(server: UploadServer, request: Request) -> None:
        server.content += await request.body()
        ahead = await request.reader.readuntil(b"\r\n\r\n")
        begun.append(ahead)
        request.taken(SEGMENT)
        size = int(ahead.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        server.content += await request.reader.readexactly(size)
        request.taken(len(server.content))

    async with upload_server(slow) as server, sending(server, identity) as sender:
        await sender.send(content)

    assert 1 == len(begun)
    assert content == server.content


@pytest.mark.parametrize("where", ["the body", "the answer", "the store"])
async def test_a_job_that_ends_takes_its_upload_along_at_once(identity, content, where):
    """Wherever that stands."""
    reached = asyncio.Event()

    async def hangs(server: UploadServer, request: Request) -> None:
        if where != "the body":
            await request.reader.read(SEGMENT if where == "the answer" else 1)
        reached.set()
        await request.reader.read(-1)

    async with upload_server(hangs) as server, sending(server, identity) as sender:
        lanes = sender.lanes
        lanes.announce(JobContent(job="j-1", size=len(content), etag="v1"), offset=0)
        size = len(content) if where == "the body" else SEGMENT if where == "the answer" else 100
        giving = asyncio.create_task(lanes.send_block("j-1", content[:size]))
        await reached.wait()

        lanes.drop_stream("j-1")
        giving.cancel()
        await until(lambda: not threads())

    assert 1 == server.connections


async def test_the_seventeenth_upload_goes_in_blocks(identity):
    """Threads and connections are bounded."""
    async with upload_server() as server, sending(server, identity) as sender:
        for number in range(17):
            message = JobContent(job=f"j-{number}", size=10, etag="v1")
            sender.lanes.announce(message, offset=0)
        announced, _ = sender.frames()
        for number in range(17):
            sender.lanes.drop_stream(f"j-{number}")

    assert ["upload"] * 16 + [None] == announced


@pytest.mark.parametrize("cuts", [20])
async def test_many_cuts_lose_and_repeat_nothing(identity, cuts):
    content = os.urandom(30 * SEGMENT)
    scripts = [cut_after(30_000 + number, keeping=20_000) for number in range(cuts)]
    interleaved = [script for pair in zip(scripts, [takes] * cuts, strict=True) for script in pair]
    async with upload_server(*interleaved) as server, sending(server, identity) as sender:
        await sender.send(content)

    assert hashlib.sha256(content).digest() == hashlib.sha256(server.content).digest()
    assert cuts + 1 == server.connections
