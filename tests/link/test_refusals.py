"""What the link makes of a no, before and after the upgrade."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from agent.telemetry import metrics
from tests.doubles.scripted_control_plane import Answer, ScriptedLink, running
from tests.link.agents import connecting
from tests.waiting import until


def downs(logs):
    return [entry for entry in logs if entry["event"] == "link.down"]


async def ended_by(attempt, identity):
    """Return the first `link.down` and the back-off's first answer; the second connect works."""
    with capture_logs() as logs:
        async with running(attempt) as plane, connecting(plane.url, identity) as agent:
            await until(lambda: len(plane.requests) == 2, message="a second connect")
            await agent.up()
    return downs(logs)[0], agent.backoff.asked[0]


def closing(code: int, reason: str = ""):
    async def script(link: ScriptedLink) -> None:
        await link.greet()
        await link.connection.close(code, reason)

    return script


async def test_an_unknown_key_is_final_and_says_what_to_do(identity):
    """Somebody has to enroll this host again; until then we ask every few minutes."""
    down, asked = await ended_by(Answer(401, '{"reason":"identity_rejected"}'), identity)

    assert (down["log_level"], down["reason"]) == ("error", "identity_rejected")
    assert "enroll with a new join token" in down["message"]
    assert asked.final
    assert asked.delay >= 150


async def test_the_link_says_why_it_is_down(identity):
    """For `/readyz`, and in the metric."""
    refused = metrics.link_connects.labels("refused")
    before = refused._value.get()
    answer = Answer(403, '{"reason":"revoked"}')

    with capture_logs() as logs:
        async with running(answer) as plane, connecting(plane.url, identity) as agent:
            await agent.up()

    assert downs(logs)[0]["reason"] == "revoked"
    assert refused._value.get() == before + 1


@pytest.mark.parametrize(
    ("answer", "retry_after"),
    [
        (Answer(503, headers=[("Retry-After", "7")]), 7),
        (Answer(503, '{"reason":"overloaded","retry_after":9}'), 9),
        (Answer(503, '{"reason":"overloaded"}'), 5),
        (Answer(503, '{"retry_after":2}', [("Retry-After", "7")]), 2),
        (Answer(503, headers=[("Retry-After", "99999")]), 3600),
        (Answer(503, headers=[("Retry-After", "-1")]), None),
        (Answer(503, headers=[("Retry-After", "soon")]), None),
        (Answer(503, headers=[("Retry-After", "7"), ("Retry-After", "8")]), None),
        (Answer(503, '{"retry_after":NaN}'), None),
        (Answer(503, '{"retry_after":Infinity}'), None),
        (Answer(503, '{"retry_after":1' + "0" * 400 + "}"), 3600),
        (Answer(503, '{"retry_after":-5}'), 0),
        (Answer(503, '{"retry_after":"5"}'), None),
        (Answer(503, "[" * 4000), None),
        (Answer(503, "x" * 1_000_000), None),
    ],
)
async def test_the_time_that_a_refusal_names_is_kept(identity, answer, retry_after):
    """Or, where it makes no sense, the usual one; nothing there ends the link."""
    down, asked = await ended_by(answer, identity)

    assert asked.retry_after == retry_after
    assert asked.delay >= (retry_after or 0)
    assert not asked.final
    assert down["log_level"] == "warning"


@pytest.mark.parametrize(
    ("close", "reason", "retry_after", "final"),
    [
        (closing(4503, '{"reason":"overloaded","retry_after":8}'), "overloaded", 8, False),
        (closing(4503), "overloaded", 5, False),
        (closing(4403, '{"reason":"revoked"}'), "revoked", None, True),
        (closing(4401), "identity_rejected", None, True),
        (closing(4010), "superseded", 30, False),
        (closing(1012, "deploying"), "closed_1012", None, False),
        (closing(1000), "closed_1000", None, False),
        (closing(4503, '{"reason":"overloaded","retry_after":NaN}'), "overloaded", 5, False),
    ],
)
async def test_a_close_is_understood(identity, close, reason, retry_after, final):
    down, asked = await ended_by(close, identity)

    assert (down["reason"], asked.retry_after, asked.final) == (reason, retry_after, final)
    assert down["log_level"] == ("error" if final else "warning")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(identity, status):
    """The proof is for one address, and whoever answers there must not hand it on."""
    async with running() as elsewhere:
        down, asked = await ended_by(Answer(status, "", [("Location", elsewhere.url)]), identity)

    assert elsewhere.requests == []
    assert down["reason"] == f"http_{status}"
    assert "control_plane.url" in down["message"]
    assert not asked.final


async def test_a_server_without_our_sub_protocol_is_left(identity):
    """It may be a WebSocket server, but not a control plane."""
    with capture_logs() as logs:
        async with running(subprotocol=None) as plane, connecting(plane.url, identity) as agent:
            await until(lambda: len(agent.backoff.asked) >= 2)

    assert {"protocol"} == {down["reason"] for down in downs(logs)}
    assert "cloud-agent.v1" in downs(logs)[0]["message"]


async def test_a_web_page_is_not_a_control_plane(identity):
    """Typically a captive portal, or the wrong path."""
    down, asked = await ended_by(Answer(200, "<html>Welcome</html>"), identity)

    assert down["reason"] == "http_200"
    assert "control_plane.url" in down["message"]
    assert not asked.final


@asynccontextmanager
async def answering(data: bytes):
    """A TCP server that writes *data* to whoever connects, and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/agent/v1/connect"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,
        b"HTTP/1.1 503 \xff\xfe\r\nRetry-After: \xb2\r\n\r\n",
    ],
)
async def test_what_is_no_web_server_has_a_reason_too(identity, data):
    """Garbage at the other end is one failed connect, and the next is tried."""
    with capture_logs() as logs:
        async with answering(data) as url, connecting(url, identity) as agent:
            await until(lambda: len(agent.backoff.asked) >= 2)

    assert downs(logs)[0]["reason"] in {"protocol", "http_200", "http_503"}
