"""A connection that is no longer one is found; one that is merely busy is left alone."""

import asyncio
import socket
import time

from structlog.testing import capture_logs

from agent.telemetry import metrics
from tests.doubles.scripted_control_plane import ScriptedLink, running, wire_frame
from tests.link.agents import connecting
from tests.waiting import until

BEAT = 0.1


async def dropped(identity, script):
    """Return the log line of the drop, and how many seconds the connection took to end."""
    started = time.monotonic()
    with capture_logs() as logs:
        async with running(script) as plane, connecting(plane.url, identity) as agent:
            await until(lambda: len(plane.links) == 2, message="a second connection")
            took = time.monotonic() - started
            await agent.up()
    (down,) = [entry for entry in logs if entry["event"] == "link.down"]
    return down, took


async def test_a_half_open_connection_is_found_and_dialled_again(identity):
    """Nothing says that the other side is gone; only the pong is missing."""

    async def script(link: ScriptedLink) -> None:
        await link.greet(heartbeat_s=BEAT)
        await link.silence()

    down, took = await dropped(identity, script)

    assert (down["reason"], down["message"]) == ("heartbeat_lost", "no answer to the heartbeat")
    assert took < 20 * BEAT


async def test_it_is_found_in_the_middle_of_a_good_life_too(identity):
    """After some beats that were answered."""

    async def script(link: ScriptedLink) -> None:
        await link.greet(heartbeat_s=0.05)
        for _ in range(3):
            await link.send("pong", n=(await link.expect("ping"))["n"])
        await link.silence()

    down, _ = await dropped(identity, script)

    assert down["reason"] == "heartbeat_lost"


async def test_answered_heartbeats_keep_the_link_and_are_measured(identity):
    beats = metrics.link_round_trip._sum.get()
    pings = []

    async def script(link: ScriptedLink) -> None:
        await link.greet(heartbeat_s=0.05)
        for _ in range(6):
            pings.append((await link.expect("ping"))["n"])
            await link.send("pong", n=pings[-1])
        await link.stay()

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await until(lambda: len(pings) == 6)
        assert agent.link.up

    assert pings == [1, 2, 3, 4, 5, 6]
    assert len(plane.links) == 1
    assert metrics.link_round_trip._sum.get() > beats


async def test_a_message_that_drips_in_by_fragments_is_cut(identity):
    """Each fragment is a sign of life, and none is the end of the message."""

    async def script(link: ScriptedLink) -> None:
        await link.greet(heartbeat_s=BEAT)
        await link.drip_fragments(every=BEAT / 5)

    down, took = await dropped(identity, script)

    assert (down["reason"], down["message"]) == (
        "heartbeat_lost", "a message took too long to arrive",
    )  # fmt: skip
    assert took < 20 * BEAT


async def test_a_frame_that_drips_in_by_bytes_is_cut(identity):
    """The same below WebSocket, where no ping of its own could get in between."""

    async def script(link: ScriptedLink) -> None:
        await link.greet(heartbeat_s=BEAT)
        await link.drip(wire_frame(b'{"type":"ping","n":' + b" " * 5000 + b"1}"), every=BEAT / 5)

    down, took = await dropped(identity, script)

    assert down["message"] == "a message took too long to arrive"
    assert took < 20 * BEAT


async def test_web_socket_pings_do_not_hide_a_dead_program(identity):
    """A proxy in front of it may answer those, and may send its own."""

    async def script(link: ScriptedLink) -> None:
        await link.greet(heartbeat_s=BEAT)
        while not link.lost:
            link.flood_pings(1)
            await link.pause(BEAT / 2)

    down, _ = await dropped(identity, script)

    assert (down["reason"], down["message"]) == ("heartbeat_lost", "no answer to the heartbeat")


async def test_a_flood_of_web_socket_pings_is_cut(identity):
    """Each costs us a pong; a control plane has no use for them."""

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        link.flood_pings(100_000)
        await link.end()

    down, took = await dropped(identity, script)

    assert (down["reason"], took < 5) == ("rate_limited", True)


async def test_some_web_socket_pings_are_fine(identity):
    """Proxies send them."""
    seen = asyncio.Event()

    async def script(link: ScriptedLink) -> None:
        await link.greet()
        for _ in range(100):
            await (await link.connection.ping())
        seen.set()
        await link.stay()

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await asyncio.wait_for(seen.wait(), 5)
        assert agent.link.up
    assert len(plane.links) == 1


async def test_our_pong_answers_their_ping(identity):
    """With its number, also while our own beats go on."""
    answers = []

    async def script(link: ScriptedLink) -> None:
        await link.greet(heartbeat_s=0.05)
        for n in (0, 7, 2**63 - 1):
            await link.send("ping", n=n)
            answers.append((await link.expect("pong"))["n"])
        await link.stay()

    async with running(script) as plane, connecting(plane.url, identity):
        await until(lambda: len(answers) == 3)

    assert answers == [0, 7, 2**63 - 1]


def small_receive_buffer(link: ScriptedLink) -> None:
    """Make the socket hold little, as a slow line does."""
    sock = link.connection.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)


async def blocks_before_the_next_ping(link: ScriptedLink) -> list[int]:
    """Take frames up to the next ping; return the sizes of the blocks among them."""
    sizes = [0]
    while (frame := await link.receive())["type"] != "ping":
        sizes.append(len(frame.get("data", b"")))
    return sizes


async def stream(agent, blocks: int) -> None:
    block = bytes(256 * 1024)
    agent.channel.open_stream("j-1", offset=0)
    for _ in range(blocks):
        await agent.channel.send_block("j-1", block)


async def test_the_heartbeat_goes_on_beside_a_saturated_link(identity):
    """A control plane that takes every byte as slowly as it likes still hears each beat."""
    pings, blocks = [], 0

    async def script(link: ScriptedLink) -> None:
        nonlocal blocks
        await link.greet(heartbeat_s=BEAT, limits={"credit_bytes": 2**40})
        while len(pings) < 8:
            frame = await link.receive()
            if frame["type"] == "ping":
                pings.append(frame["n"])
                await link.send("pong", n=frame["n"])
            elif frame["type"] == "block":
                blocks += 1
                await link.send("ack", received=frame["seq"])
        await link.stay()

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await agent.up()
        bulk = asyncio.create_task(stream(agent, 100_000))
        await until(lambda: len(pings) == 8)
        bulk.cancel()

    assert len(plane.links) == 1
    assert blocks > 20


async def test_a_beat_does_not_wait_behind_all_that_was_sent(identity):
    """On a slow line megabytes of content may be under way; the kernel must not hoard them, or the
    beat behind them comes too late and a healthy link is dropped, again and again."""
    ahead = []

    async def script(link: ScriptedLink) -> None:
        small_receive_buffer(link)
        await link.greet(heartbeat_s=1.0, limits={"credit_bytes": 2**40})
        await link.expect("block")
        link.connection.transport.pause_reading()
        await link.pause(1.2)
        link.connection.transport.resume_reading()
        ahead.extend(await blocks_before_the_next_ping(link))
        await link.stay()

    async with running(script) as plane, connecting(plane.url, identity) as agent:
        await agent.up()
        bulk = asyncio.create_task(stream(agent, 100))
        await until(lambda: ahead)
        bulk.cancel()

    assert sum(ahead) < 1_500_000
