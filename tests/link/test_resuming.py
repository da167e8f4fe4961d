"""A cut connection loses and repeats nothing; a new session owes nothing of the old one."""

import asyncio

from agent.errors import Outcome
from agent.protocol.messages import (
    JobAccepted,
    JobProgress,
    JobResult,
    OpenJob,
    Standing,
    Trailer,
)
from tests.doubles.scripted_control_plane import ScriptedLink, running
from tests.link.agents import connecting
from tests.waiting import until


def progress(done: int) -> JobProgress:
    return JobProgress(job="j-1", done=done)


def result(size: int) -> JobResult:
    return JobResult(job="j-1", outcome=Outcome.SUCCEEDED, trailer=Trailer(bytes=size))


class Receiver:
    """Takes in numbered frames over many links, and holds them to their numbers."""

    def __init__(self) -> None:
        self.received = 0
        self.frames: list[dict] = []

    async def take(self, link: ScriptedLink, count: int) -> None:
        for _ in range(count):
            while "seq" not in (frame := await link.receive()):
                continue
            assert frame["seq"] == self.received + 1
            self.received += 1
            self.frames.append(frame)


async def test_what_was_not_acknowledged_is_sent_again(identity):
    """With the numbers it had, in the same order, and then it goes on."""
    first, second = Receiver(), Receiver()

    async def lose_three_of_five(link: ScriptedLink) -> None:
        await link.greet()
        await first.take(link, 5)
        await link.send("ack", received=2)
        await link.send("ping", n=1)
        await link.expect("pong")
        link.cut()

    async def resume(link: ScriptedLink) -> None:
        second.received = 2
        await link.greet(resumed=True, received=2)
        await second.take(link, 4)
        await link.stay()

    async with running(lose_three_of_five, resume) as plane:
        async with connecting(plane.url, identity) as agent:
            await agent.up()
            for done in range(6):
                agent.channel.post(progress(done))
                await until(lambda sent=done: len(plane.links) == 2 or len(first.frames) > sent)
            await until(lambda: len(second.frames) == 4)

    assert first.frames[2:] == second.frames[:3]
    assert [2, 3, 4, 5] == [frame["done"] for frame in second.frames]
    assert plane.links[1].hello["session"] == "s-1"


async def test_what_arrived_and_was_not_acknowledged_is_not_sent_again(identity):
    """The welcome knows better than the last ack."""
    later = Receiver()

    async def take_all_and_ack_none(link: ScriptedLink) -> None:
        await link.greet()
        await Receiver().take(link, 3)
        link.cut()

    async def resume(link: ScriptedLink) -> None:
        later.received = 3
        await link.greet(resumed=True, received=3)
        await later.take(link, 1)
        await link.stay()

    async with running(take_all_and_ack_none, resume) as plane:
        async with connecting(plane.url, identity) as agent:
            await agent.up()
            for done in range(3):
                agent.channel.post(progress(done))
            await until(lambda: len(plane.links) == 2)
            agent.channel.post(progress(9))
            await until(lambda: later.frames)

    assert [9] == [frame["done"] for frame in later.frames]


async def test_the_other_way_each_request_is_delivered_once(identity):
    """The hello says what was taken in; what comes again all the same is dropped."""

    async def request_two_and_cut(link: ScriptedLink) -> None:
        await link.greet()
        await link.request("j-1", seq=1)
        await link.request("j-2", seq=2)
        await link.send("ping", n=1)
        await link.expect("pong")
        link.cut()

    async def repeat_one_too_many(link: ScriptedLink) -> None:
        await link.greet(resumed=True)
        await link.request("j-2", seq=2)
        await link.request("j-3", seq=3)
        await link.stay()

    async with running(request_two_and_cut, repeat_one_too_many) as plane:
        async with connecting(plane.url, identity) as agent:
            await until(lambda: len(agent.work.delivered) == 3)

    assert ["j-1", "j-2", "j-3"] == [message.job for message in agent.work.delivered]
    assert plane.links[1].hello["received"] == 2
    assert agent.work.sessions == [[]]


async def test_content_survives_many_cuts(identity):
    """Every byte once and in order, whatever each connection got to see."""
    content = bytes(range(256)) * 4096
    taken = Receiver()
    ended = asyncio.Event()

    async def a_little(link: ScriptedLink) -> None:
        await link.greet(resumed=taken.received > 0, received=taken.received)
        await taken.take(link, 2)
        await link.send("ack", received=taken.received)
        link.cut()

    async def the_rest(link: ScriptedLink) -> None:
        await link.greet(resumed=True, received=taken.received)
        while taken.frames[-1]["type"] != "job.result":
            await taken.take(link, 1)
        ended.set()
        await link.stay()

    async with running(*[a_little] * 5, the_rest) as plane:
        async with connecting(plane.url, identity) as agent:
            agent.channel.post(JobAccepted(job="j-1", durable=False))
            await until(lambda: agent.link.up or agent.backoff.asked)
            agent.channel.open_stream("j-1", offset=0)
            for start in range(0, len(content), 65536):
                await agent.channel.send_block("j-1", content[start : start + 65536])
            agent.channel.finish("j-1", result(len(content)))
            await asyncio.wait_for(ended.wait(), 5)

    blocks = [frame["data"] for frame in taken.frames if frame["type"] == "block"]
    assert b"".join(blocks) == content


async def test_a_new_session_gets_nothing_of_the_old(identity):
    """Numbers begin anew, and the jobs are told what the control plane holds."""
    numbers = []

    async def first(link: ScriptedLink) -> None:
        await link.greet()
        await Receiver().take(link, 2)
        link.cut()

    async def forgetful(link: ScriptedLink) -> None:
        await link.greet(session="s-2", jobs=[{"job": "j-1", "have_bytes": 7, "etag": "e"}])
        await link.send("ping", n=1)
        assert (await link.receive())["type"] in {"ping", "pong"}
        numbers.append((await link.expect("job.progress"))["seq"])
        await link.request("j-2", seq=1)
        await link.stay()

    async with running(first, forgetful) as plane, connecting(plane.url, identity) as agent:
        await agent.up()
        agent.work.owed.append(OpenJob(job="j-1", state="running"))
        agent.channel.post(progress(0))
        agent.channel.post(progress(1))
        await until(lambda: len(agent.work.sessions) == 2)
        agent.channel.post(progress(2))
        await until(lambda: agent.work.delivered)

    assert agent.work.sessions == [[], [Standing(job="j-1", have_bytes=7, etag="e")]]
    assert plane.links[1].hello["jobs"] == [{"job": "j-1", "state": "running"}]
    assert numbers == [1]


async def test_a_session_that_cannot_be_resumed_is_given_up(identity):
    """A control plane restored from a backup claims frames that never were: a new session ends
    that, and without it we would be refused by our own check for ever."""

    async def claims_too_much(link: ScriptedLink) -> None:
        await link.greet(resumed=True, received=99)
        assert (await link.end())[0] == 4000

    async def cut(link: ScriptedLink) -> None:
        await link.greet()
        link.cut()

    async with running(cut, claims_too_much) as plane, connecting(plane.url, identity) as agent:
        await until(lambda: len(plane.links) == 3)
        await agent.up()

    assert plane.links[1].hello["session"] == "s-1"
    assert "session" not in plane.links[2].hello


async def test_acknowledged_frames_that_are_lost_end_the_session(identity):
    """The agent has them no more, so no numbering can go on."""

    async def ack_and_cut(link: ScriptedLink) -> None:
        await link.greet()
        await Receiver().take(link, 2)
        await link.send("ack", received=2)
        await link.send("ping", n=1)
        await link.expect("pong")
        link.cut()

    async def has_lost_them(link: ScriptedLink) -> None:
        await link.greet(resumed=True, received=1)
        assert (await link.end())[0] == 4000

    async with running(ack_and_cut, has_lost_them) as plane:
        async with connecting(plane.url, identity) as agent:
            await agent.up()
            agent.channel.post(progress(0))
            agent.channel.post(progress(1))
            await until(lambda: len(plane.links) == 3)
            await agent.up()

    assert "session" not in plane.links[2].hello


async def test_a_session_that_breaks_twice_at_one_frame_is_given_up(identity):
    """A frame that can't be taken would come again with each resumption, without end."""
    sessions = []

    def breaking(**welcome):
        async def script(link: ScriptedLink) -> None:
            await link.greet(**welcome)
            sessions.append(link.hello.get("session"))
            await link.send("job.request", seq=7, job="j-1", kind="fetch-artifact")
            assert (await link.end())[0] == 4000

        return script

    async def stay(link: ScriptedLink) -> None:
        await link.greet(session="s-2")
        sessions.append(link.hello.get("session"))
        await link.stay()

    async with (
        running(breaking(), breaking(resumed=True), stay) as plane,
        connecting(plane.url, identity),
    ):
        await until(lambda: len(sessions) == 3)

    assert [None, "s-1", None] == sessions
