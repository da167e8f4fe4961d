"""What a control plane may send after the welcome, and what each of it costs: one connection."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from agent.errors import Reason
from agent.link.channel import TEXT_BACKLOG, Channel
from agent.protocol.codec import encode_block
from agent.protocol.messages import JobLog, JobRefused, JobRequest
from tests.doubles.scripted_control_plane import ScriptedLink, Work, running, welcomed
from tests.link.agents import connecting, new_link
from tests.waiting import until

NO_UTF8 = b"\x81\x02\xff\xfe"


def request(seq: object = 1, **fields: object) -> dict[str, object]:
    return {"type": "job.request", "seq": seq, "job": "j-1", "kind": "fetch-artifact"} | fields


def sending(*frames):
    """Welcome, send *frames* as they are, and wait for the end."""

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        for frame in frames:
            is_raw = isinstance(frame, str | bytes)
            await link.connection.send(frame if is_raw else json.dumps(frame))
        await link.end()

    return script


async def consequence(identity, script):
    """Return the close frame, the log line, and the jobs; the connection after it works."""
    with capture_logs() as logs:
        async with running(script) as plane, connecting(plane.url, identity) as agent:
            await until(lambda: len(plane.links) == 2, message="a second connection")
            await agent.up()
            await until(lambda: plane.ended)
    (down,) = [entry for entry in logs if entry["event"] == "link.down"]
    return plane.ended[0], down, agent.work.delivered


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "no",
        "{}",
        "[]",
        '{"type":"ping","n":1}}',
        '{"type":"ping","n":1,"n":1}',
        '{"type":"ping","n":NaN}',
        '{"type":"ping","n":-1}',
        '{"type":"ping","n":9223372036854775808}',
        '{"type":"ping","n":' + "9" * 5000 + "}",
        '{"type":"ping","x":' + "[" * 33 + "]" * 33 + "}",
        '{"type":"ping","x":' + "[" * 200_000 + "]" * 200_000 + "}",
        '{"type":"ping","x":[' + "{}," * 20_000 + "{}]}",
        '{"type":7}',
        '{"type":"' + "x" * 65 + '"}',
        '{"type":"\\ud800"}',
        json.dumps(request(parameters={"uri": "\ud800"})),
        json.dumps(request()).replace("}", ',"parameters":{"range":[0,1e999]}}'),
        json.dumps(request(deadline_s=0)),
        json.dumps(request(job="../x")),
        json.dumps(request(job="")),
        encode_block(1, "j-1", 0, b"data"),
        b"",
        {"type": "welcome", "session": "s-2", "resumed": False},
        {"type": "enrolled", "agent": "prod-eu", "instance": "i-1"},
        {"type": "ack", "received": 1},
        request(seq=0),
        request(seq=2),
        request(seq=-1),
        {"type": "credit", "seq": 2, "job": "j-1", "up_to": 1},
        {"type": "something.new", "seq": 5},
    ],
    ids=lambda frame: str(frame)[:40],
)
async def test_what_breaks_the_protocol_is_dropped_with_its_reason(identity, frame):
    """Whatever it is; no job is made of it, and the next connection works."""
    ended, down, delivered = await consequence(identity, sending(frame))

    assert ended == (4000, '{"reason":"protocol_error"}')
    assert (down["reason"], down["log_level"]) == ("protocol_error", "warning")
    assert down["message"]
    assert delivered == []


async def test_what_came_before_the_broken_frame_counts(identity):
    """A gap: the frame before it is in safe hands, the one behind it is not taken."""
    *_, delivered = await consequence(identity, sending(request(1), request(3, job="j-3")))

    assert ["j-1"] == [message.job for message in delivered]


async def test_a_repeated_number_is_dropped_without_a_word(identity):
    """A resumed sender repeats what we had; that is no mistake."""

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        for _ in range(3):
            await link.request("j-1", seq=1)
        await link.request("j-2", seq=2)
        await link.expect("ack")
        await link.stay()

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await until(lambda: len(agent.work.delivered) == 2)

    assert ["j-1", "j-2"] == [message.job for message in agent.work.delivered]


async def test_too_large_a_frame_is_dropped_unread(identity):
    """The announced length is enough; not one byte of it need arrive."""

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        link.write_raw(bytes([0x81, 127]) + (1 << 40).to_bytes(8, "big"))
        await link.end()

    ended, down, _ = await consequence(identity, script)

    assert (ended[0], down["reason"]) == (1009, "frame_too_large")


async def test_fragments_do_not_add_up_past_the_limit(identity):
    """Many small fragments are one large message."""

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        await link.connection.send("x" * 65536 for _ in range(17))
        await link.end()

    ended, down, _ = await consequence(identity, script)

    assert (ended[0], down["reason"]) == (1009, "frame_too_large")


@pytest.mark.parametrize(
    "data",
    [b"\x83\x00", b"\xff\xff\xff\xff", b"\x81\x81\x00\x00\x00\x00\x00", b"\x80\x00", NO_UTF8],
    ids=["opcode", "reserved bits", "masked", "no beginning", "no UTF-8"],
)  # fmt: skip
async def test_broken_web_socket_frames_are_a_broken_protocol(identity, data):
    async def script(link: ScriptedLink) -> None:
        await link.greet()
        link.write_raw(data)
        await link.end()

    ended, down, _ = await consequence(identity, script)

    assert ended[0] in (1002, 1007)
    assert down["reason"] == "protocol_error"


@pytest.mark.parametrize("seq", [{}, {"seq": 1}])
async def test_an_unknown_type_is_answered_and_the_link_stays(identity, seq):
    """So that a newer control plane can talk to an older agent; its number counts."""
    heard = []

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        await link.send("something.new", **seq)
        heard.append(await link.expect("unsupported"))
        await link.request("j-1", seq=len(seq) + 1)
        await link.expect("ack")
        await link.stay()

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await until(lambda: agent.work.delivered)

    assert heard == [{"type": "unsupported", "of": "something.new"}]
    assert len(plane.links) == 1


async def test_unknown_fields_and_unasked_answers_are_ignored(identity):
    """Pongs to no ping, credit for no job, acks that say nothing new, complaints."""

    async def script(link: ScriptedLink) -> None:
        await link.greet(surprise={"deep": [1]}, capabilities=["telepathy"])
        await link.send("pong", n=12345)
        await link.send("credit", seq=1, job="j-unknown", up_to=2**62, more=1)
        await link.send("ack", received=0)
        await link.send("unsupported", of="agent.status")
        await link.send("ping", n=7)
        assert (await link.expect("pong"))["n"] == 7
        await link.request("j-1", seq=2)
        await link.stay()

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await until(lambda: agent.work.delivered)

    assert len(plane.links) == 1


class BusyWork(Work):
    """Refuses every job, as the runner does when it is full."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel

    def deliver(self, message: JobRequest) -> None:
        refused = JobRefused(job=message.job, reason=Reason.BUSY, message="x" * 30_000)
        self.channel.post(refused)


@pytest.mark.parametrize("reads", [True, False])
async def test_refusals_that_nobody_acknowledges_do_not_pile_up(identity, reads):
    """A flood of jobs is answered while the answers are taken in, and then cut off."""
    channel = Channel()

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        reading = asyncio.create_task(link.stay()) if reads else None
        if not reads:
            link.connection.transport.pause_reading()
        for number in range(1, 10**6):
            await link.request(f"j-{number}", seq=number)
        assert reading

    with capture_logs() as logs:
        async with running(script) as plane:
            task = asyncio.create_task(
                new_link(plane.url, identity, channel=channel).run(BusyWork(channel))
            )
            await until(lambda: len(plane.links) == 2, message="a second connection")
            task.cancel()
            await asyncio.wait({task})

    assert "rate_limited" in [entry.get("reason") for entry in logs]


async def test_messages_that_wait_for_a_link_are_counted():
    """Or logs of a job would fill the memory for as long as there is no connection."""
    channel = Channel()
    message = JobLog(job="j-1", offset=0, end=1, text="x" * 32768)

    async def log_without_end() -> None:
        for _ in range(10_000):
            await channel.post_patiently("j-1", message)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(log_without_end(), 0.2)
    assert channel.session.text_backlog < 2 * TEXT_BACKLOG


@pytest.mark.parametrize("type_", ["ping", "something.new"])
async def test_answers_that_nobody_reads_do_not_pile_up(identity, type_):
    """A control plane that asks without end and reads nothing would fill our memory."""
    frame = json.dumps({"type": type_, "n": 1})

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        link.connection.transport.pause_reading()
        while True:
            await link.connection.send(frame)

    waiting = []
    with capture_logs() as logs:
        async with running(script, welcomed) as plane, connecting(plane.url, identity) as agent:
            await until(lambda: waiting.append(len(agent.channel._loose)) or len(plane.links) == 2)

    (down,) = [entry for entry in logs if entry["event"] == "link.down"]
    assert down["reason"] == "rate_limited"
    assert max(waiting) <= 1024
