"""Who may connect, and what a link, a session and a restart keep."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.errors import Outcome
from agent.protocol.messages import CONNECT_PATH, Enrolled, JobCancel, JobRequest, JobSettled, Ping
from control_plane_stub.agents.identity import read_proof
from tests.control_plane_stub.conftest import User, plane_in
from tests.control_plane_stub.fake_agent import FakeAgent, Identity, dialled, enroll, ws_url
from tests.servers.processes import free_port


async def refusal(user: User, identity: Identity, proof: str) -> tuple[int, str]:
    """Return status and reason of a refused connect."""
    with pytest.raises(InvalidStatus) as refused:
        async with dialled(user.base, CONNECT_PATH, identity, proof=proof):
            pass
    response = refused.value.response
    return response.status_code, json.loads(response.body or b"{}")["reason"]


async def token_for(user: User, agent: str) -> str:
    body = {"agent": agent, "ttl": 60}
    return str((await user.json("POST", "/join-tokens", json=body, expect=201))["join_token"])


async def test_enrolment_registers_a_key(user: User) -> None:
    identity = Identity()
    answer = await enroll(user.base, identity, await token_for(user, "prod-eu"))

    assert isinstance(answer, Enrolled)
    async with FakeAgent(user.base, identity).connected():
        agents = (await user.json("GET", "/agents"))["agents"]
    assert agents[0]["name"] == "prod-eu"
    assert agents[0]["instances"][0]["state"] == "online"


@pytest.mark.parametrize("owner", ["another-agent", "prod-eu"])
async def test_a_join_token_is_for_one_agent_and_once(user: User, owner: str) -> None:
    token = await token_for(user, owner)
    if owner == "prod-eu":
        await enroll(user.base, Identity(), token)

    with pytest.raises(ConnectionClosed) as closed:
        await enroll(user.base, Identity(), token)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4402


async def test_a_join_token_replaces_nobody_elses_key(user: User) -> None:
    """An instance is named after its key, so no other key can be registered under its name."""
    first = await user.enrolled(Identity())
    thief = Identity(instance=first.instance)

    with pytest.raises(ConnectionClosed) as closed:
        await enroll(user.base, thief, await token_for(user, "prod-eu"))
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    async with FakeAgent(user.base, first).connected():
        return


async def test_the_same_key_may_enrol_again_with_its_token(user: User) -> None:
    """The first answer may have been lost."""
    identity, token = Identity(), await token_for(user, "prod-eu")
    await enroll(user.base, identity, token)
    assert isinstance(await enroll(user.base, identity, token), Enrolled)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "ws://elsewhere.example/agent/v1/connect"},
        {"sub": "another-agent"},
        {"iss": "another-instance"},
        {"header": {"alg": "none"}},
        {"header": {"typ": "JWT"}},
        {"exp": 2**40},
        {"jti": ""},
        {"iat": "now"},
    ],
)
async def test_a_proof_that_is_not_ours_is_rejected(user: User, changes: dict[str, Any]) -> None:
    identity = await user.enrolled(Identity())
    proof = identity.proof(ws_url(user.base, CONNECT_PATH), **changes)
    assert await refusal(user, identity, proof) == (401, "identity_rejected")


async def test_another_key_is_rejected(user: User) -> None:
    identity = await user.enrolled(Identity())
    proof = Identity(instance=identity.instance).proof(ws_url(user.base, CONNECT_PATH))
    assert await refusal(user, identity, proof) == (401, "identity_rejected")


async def test_an_old_proof_is_clock_skew(user: User) -> None:
    identity = await user.enrolled(Identity())
    proof = identity.proof(ws_url(user.base, CONNECT_PATH), iat=1_000_000, exp=1_000_060)
    assert await refusal(user, identity, proof) == (401, "clock_skew")


async def test_a_proof_opens_once(user: User) -> None:
    identity = await user.enrolled(Identity())
    proof = identity.proof(ws_url(user.base, CONNECT_PATH))
    async with dialled(user.base, CONNECT_PATH, identity, proof=proof):
        pass
    assert await refusal(user, identity, proof) == (401, "identity_rejected")


async def test_revoking_closes_the_link_for_good(user: User, agent: FakeAgent) -> None:
    await user.json("DELETE", f"/agents/prod-eu/instances/{agent.identity.instance}")

    assert (await agent.ended())[0] == 4403
    proof = agent.identity.proof(ws_url(user.base, CONNECT_PATH))
    assert await refusal(user, agent.identity, proof) == (403, "revoked")


async def test_a_second_link_supersedes_the_first(user: User, agent: FakeAgent) -> None:
    async with FakeAgent(user.base, agent.identity).connected() as second:
        assert (await agent.ended())[0] == 4010
        job = await user.submit()
        assert (await second.next(JobRequest)).job == job


async def test_a_session_resumes_over_links(user: User) -> None:
    """What was sent while the link was down arrives on the next one, once."""
    agent = FakeAgent(user.base, await user.enrolled(Identity()))
    async with agent.connected():
        job = await user.submit()
        await agent.next(JobRequest)
        await agent.accept(job)
        await user.until(job, lambda view: view["state"] == "running")
    await user.json("POST", f"/jobs/{job}/cancel", expect=202)
    async with agent.connected():
        assert agent.welcome is not None
        assert agent.welcome.resumed
        assert (await agent.next(JobCancel)).job == job


async def test_a_lost_durable_job_has_an_unknown_outcome(user: User) -> None:
    agent = FakeAgent(user.base, await user.enrolled(Identity()))
    async with agent.connected():
        durable, volatile = await user.submit(), await user.submit()
        await agent.accept(durable, durable=True)
        await agent.accept(volatile)
        await user.until(volatile, lambda view: view["state"] == "running")
    async with FakeAgent(user.base, agent.identity).connected() as restarted:
        again = await restarted.next(JobRequest)
    assert again.job == volatile
    assert (await user.ended(durable))["state"] == "outcome_unknown"


async def test_content_goes_on_after_a_restart_of_the_control_plane(tmp_path: Path) -> None:
    """Jobs, the bytes and the log that came in, and enrolments survive; the agent goes on there."""
    data = bytes(range(256)) * 2000
    async with plane_in(tmp_path) as user:
        identity = await user.enrolled(Identity())
        agent = FakeAgent(user.base, identity)
        async with agent.connected():
            job = await user.submit()
            await agent.next(JobRequest)
            await agent.accept(job)
            await agent.log(job, 0, "begun\n")
            await agent.begin(job, data)
            await user.until(job, lambda view: view["progress"]["bytes"] == len(data))
    async with plane_in(tmp_path) as user:
        agent.base = user.base
        async with agent.connected():
            assert agent.welcome is not None
            standing = agent.welcome.jobs[0]
            assert (standing.have_bytes, standing.have_log, standing.etag) == (len(data), 6, "v1")
            await agent.finish(job, data)
            await agent.next(JobSettled)
        async with user.session.get(f"/api/v1/jobs/{job}/content") as response:
            assert await response.read() == data


async def test_the_agent_is_told_about_results_that_are_stored_already(
    user: User, agent: FakeAgent
) -> None:
    """A result of a job that has ended is settled again, so that the agent forgets it."""
    await agent.finish("long-gone", outcome=Outcome.FAILED)
    assert (await agent.next(JobSettled)).job == "long-gone"


async def test_a_restart_says_so(tmp_path: Path) -> None:
    async with plane_in(tmp_path) as user:
        identity = await user.enrolled(Identity())
        link = FakeAgent(user.base, identity).connected()
        agent = await link.__aenter__()
    assert (await agent.ended())[0] == 4504
    await link.__aexit__(None, None, None)


async def test_a_silent_link_is_found_by_the_heartbeat(tmp_path: Path) -> None:
    """An agent that answers no ping is closed after three beats."""
    async with plane_in(tmp_path, heartbeat_s=0.05) as user:
        agent = FakeAgent(user.base, await user.enrolled(Identity()))
        async with agent.connected():
            await agent.next(Ping)
            agent.answers_pings = False
            assert (await agent.ended())[0] == 4008


async def test_the_round_trip_is_measured(tmp_path: Path) -> None:
    async with plane_in(tmp_path, heartbeat_s=0.05) as user:
        agent = FakeAgent(user.base, await user.enrolled(Identity()))
        async with agent.connected():
            await agent.next(Ping)
            await agent.next(Ping)
            (shown,) = (await user.json("GET", "/agents"))["agents"][0]["instances"]
            assert 0 < shown["round_trip_ms"] < 1000


async def test_a_flood_of_pings_is_dropped(user: User, agent: FakeAgent) -> None:
    assert agent.ws is not None
    with suppress(ConnectionClosed):
        for _ in range(200):
            await agent.ws.ping()
    assert (await agent.ended())[0] == 4029


async def test_jobs_of_a_revoked_instance_end(user: User, agent: FakeAgent) -> None:
    job = await user.submit()
    await agent.next(JobRequest)
    await user.json("DELETE", f"/agents/prod-eu/instances/{agent.identity.instance}")
    assert (await user.ended(job))["state"] == "outcome_unknown"


async def test_broken_frames_drop_the_link_with_a_reason(user: User, agent: FakeAgent) -> None:
    assert agent.ws is not None
    await agent.ws.send("[" * 100_000)
    code, reason = await agent.ended()
    assert (code, json.loads(reason or "{}")) == (4000, {"reason": "protocol_error"})


async def test_a_frame_that_breaks_the_link_twice_ends_its_session(user: User) -> None:
    """Resuming would bring it again, without end."""
    agent = FakeAgent(user.base, await user.enrolled(Identity()))
    resumed = []

    for _ in range(3):
        async with agent.connected():
            assert agent.welcome is not None
            resumed.append(agent.welcome.resumed)
            assert agent.ws is not None
            await agent.ws.send('{"type":"job.result","seq":1')
            assert (await agent.ended())[0] == 4000

    assert [False, True, False] == resumed


@pytest.mark.parametrize(
    ("audience", "host"),
    [
        ("wss://cloud.example.com:443/x", "cloud.example.com"),
        ("wss://Cloud.example.com/x", "cloud.example.com"),
        ("wss://cloud.example.com:80/x", "cloud.example.com:80"),
        ("ws://127.0.0.1:8080/x", "127.0.0.1:8080"),
    ],
)
def test_a_default_port_is_the_same_as_none(audience: str, host: str) -> None:
    assert host == read_proof(f"Bearer {Identity().proof(audience)}").host


@pytest.mark.parametrize(("name", "admitted"), [("127.0.0.1", True), ("cloud.example.com", False)])
async def test_a_plane_that_knows_its_name_takes_proofs_for_no_other(
    tmp_path: Path, name: str, admitted: bool
) -> None:
    """Whatever Host says: a proof made out to somebody else could have been relayed."""
    port = free_port()
    async with plane_in(tmp_path, listen_port=port) as user:
        identity = await user.enrolled(Identity())

    async with plane_in(tmp_path, listen_port=port, public_host=f"{name}:{port}") as user:
        if admitted:
            async with FakeAgent(user.base, identity).connected():
                return
        proof = identity.proof(ws_url(user.base, CONNECT_PATH))
        assert (401, "identity_rejected") == await refusal(user, identity, proof)
