"""Registering the key: the token travels once, in the frame, and nowhere else."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.errors import LinkRefused, Unreachable, UsageError
from agent.link import enrolment
from agent.link.dial import Endpoint
from agent.link.enrolment import enroll, enrolment_url, read_join_token
from tests.doubles.scripted_control_plane import Answer, ScriptedLink, running
from tests.link.test_greeting import part
from tests.servers.processes import free_port

TOKEN = "cajt_token-of-a-test"


async def enrolled(link: ScriptedLink) -> None:
    link.hello = await link.receive()
    await link.send("enrolled", agent=link.hello["agent"], instance=link.hello["instance"])
    await link.connection.close()


async def attempt(identity, *attempts):
    """Enroll once; return the control plane."""
    async with running(*attempts) as plane:
        await enroll(Endpoint(plane.url), identity, TOKEN, version="1")
    return plane


async def test_the_public_key_and_the_token_travel_in_one_frame(identity):
    plane = await attempt(identity, enrolled)

    assert plane.links[0].hello == {
        "type": "enroll",
        "agent": "prod-eu",
        "instance": identity.instance,
        "public_key": identity.public_key,
        "join_token": TOKEN,
    }


async def test_the_token_is_in_no_url_and_no_header(identity):
    """And the proof that is there is signed by the key itself, for this address."""
    (request,) = (await attempt(identity, enrolled)).requests
    signed, _, signature = request.headers["Authorization"].removeprefix("Bearer ").rpartition(".")

    assert request.path == "/agent/v1/enroll"
    assert TOKEN not in f"{request.path} {request.headers}"
    Ed25519PublicKey.from_public_bytes(part(identity.public_key)).verify(
        part(signature), signed.encode()
    )
    assert json.loads(part(signed.split(".")[1]))["aud"].endswith(request.path)


async def test_a_lost_answer_can_be_asked_for_again(identity):
    """With the same token and the same key; what the agent sends is the same but for the proof."""

    async def cut(link: ScriptedLink) -> None:
        link.hello = await link.receive()
        link.cut()

    async with running(cut, enrolled) as plane:
        with pytest.raises(Unreachable):
            await enroll(Endpoint(plane.url), identity, TOKEN, version="1")
        await enroll(Endpoint(plane.url), identity, TOKEN, version="1")

    assert plane.links[0].hello == plane.links[1].hello
    assert plane.requests[0].headers["Authorization"] != plane.requests[1].headers["Authorization"]


def closing(code: int, reason: str = ""):
    async def script(link: ScriptedLink) -> None:
        await link.receive()
        await link.connection.close(code, reason)

    return script


@pytest.mark.parametrize(
    ("answer", "reason", "final", "retry_after"),
    [
        (closing(4402, '{"reason":"join_token_rejected"}'), "join_token_rejected", True, None),
        (closing(4402), "join_token_rejected", True, None),
        (closing(4029, '{"reason":"rate_limited","retry_after":3}'), "rate_limited", False, 3),
        (Answer(403, '{"reason":"join_token_rejected"}'), "join_token_rejected", True, None),
        (Answer(503, headers=[("Retry-After", "7")]), "http_503", False, 7),
        (Answer(404), "http_404", False, None),
    ],
)
async def test_a_refusal_is_typed(identity, answer, reason, final, retry_after):
    with pytest.raises(LinkRefused) as refused:
        await attempt(identity, answer)

    assert (refused.value.reason, refused.value.final) == (reason, final)
    assert refused.value.retry_after == retry_after
    assert TOKEN not in repr(refused.value)


def saying(*frames):
    async def script(link: ScriptedLink) -> None:
        await link.receive()
        for frame in frames:
            await link.connection.send(frame)
        await link.stay()

    return script


ENROLLED = {"type": "enrolled", "agent": "prod-eu", "instance": "i-0"}


@pytest.mark.parametrize(
    "answer",
    [
        closing(1000),
        closing(1012),
        saying("no"),
        saying(b"no"),
        saying(json.dumps(ENROLLED)),
        saying('{"type":"welcome","session":"s-1","resumed":false}'),
        saying('{"type":"something.new"}'),
        saying("x" * 2_000_000),
    ],
    ids=["bye", "restart", "text", "bytes", "another", "welcome", "unknown", "large"],
)
async def test_no_answer_is_no_enrolment(identity, answer):
    """The key counts as registered only when its own name came back."""
    with pytest.raises(Unreachable, match="control plane") as failed:
        await attempt(identity, answer)

    assert TOKEN not in f"{failed.value!r}"


async def test_an_answer_for_another_agent_is_no_enrolment(identity):
    answer = json.dumps(ENROLLED | {"agent": "prod-us", "instance": identity.instance})

    with pytest.raises(Unreachable):
        await attempt(identity, saying(answer))


async def test_silence_is_waited_for_a_while(identity, monkeypatch):
    monkeypatch.setattr(enrolment, "ANSWER_TIMEOUT", 0.05)

    with pytest.raises(Unreachable):
        await attempt(identity, saying())


async def test_nobody_there(identity):
    endpoint = Endpoint(f"ws://127.0.0.1:{free_port()}/agent/v1/connect")

    with pytest.raises(Unreachable, match="could not connect"):
        await enroll(endpoint, identity, TOKEN, version="1")


def test_the_end_point_of_enrolling_stands_beside_that_of_connecting():
    assert enrolment_url("wss://h:1/p/agent/v1/connect") == "wss://h:1/p/agent/v1/enroll"
    with pytest.raises(UsageError, match=r"control_plane\.url"):
        enrolment_url("wss://h:1/other")


def test_a_token_file_may_end_in_a_newline(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    assert TOKEN == read_join_token(tmp_path / "token")


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two words", b"a\nb", b"\x00", b"\xff", b"x" * 513]
)
def test_what_is_no_token_is_refused_unseen(tmp_path, content):
    (tmp_path / "token").write_bytes(content)

    with pytest.raises(UsageError) as refused:
        read_join_token(tmp_path / "token")
    assert str(tmp_path / "token") in str(refused.value)
    assert "two words" not in str(refused.value)


def test_a_missing_token_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_join_token(tmp_path / "token")
