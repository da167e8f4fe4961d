"""The REST interface as such: token, errors, description, event streams, pages."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.errors import UsageError
from agent.protocol.messages import CONNECT_PATH, ENROLL_PATH, JobRequest
from control_plane_stub.agents.gate import Gate
from control_plane_stub.plane import open_plane
from control_plane_stub.rest.application import application
from control_plane_stub.server import ServeOptions, running
from tests.control_plane_stub.conftest import User, plane_in
from tests.control_plane_stub.fake_agent import FakeAgent


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, Any]]:
    """Yield kind, id and data of each event."""
    async for part in _parts(response):
        fields = dict(line.split(": ", 1) for line in part.splitlines())
        if "event" in fields:
            yield fields["event"], fields.get("id", ""), json.loads(fields["data"])


async def _parts(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    lines: list[str] = []
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line:
            lines.append(line)
        else:
            yield "\n".join(lines)
            lines = []


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic eDp5"])
async def test_the_api_needs_the_token(user: User, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    async with (
        aiohttp.ClientSession(user.base) as stranger,
        stranger.get("/api/v1/jobs", headers=headers) as response,
    ):
        assert response.status == 401
        assert (await response.json())["error"]["reason"] == "unauthorized"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/jobs", "{", 400),
        ("POST", "/jobs", '{"kind": "x"}', 400),
        ("POST", "/jobs", '{"agent": "a", "labels": {"r": "eu"}, "kind": "x"}', 400),
        ("POST", "/jobs", '{"agent": "a", "kind": "x", "typo": 1}', 400),
        ("POST", "/jobs", '{"agent": "../etc", "kind": "x"}', 400),
        ("POST", "/join-tokens", '{"agent": "a", "ttl": -1}', 400),
        ("POST", "/faults", '{"agent": "a", "fault": "explode"}', 400),
        ("GET", "/jobs/unknown", None, 404),
        ("POST", "/jobs/unknown/cancel", None, 404),
        ("DELETE", "/agents/a/instances/b", None, 404),
        ("PUT", "/jobs", None, 405),
        ("GET", "/nothing", None, 404),
    ],
)
async def test_errors_have_one_shape(
    user: User, method: str, path: str, body: str | None, status: int
) -> None:
    answer = await user.json(method, path, data=body, expect=status)
    assert set(answer["error"]) >= {"reason", "message"}


@pytest.mark.parametrize(
    "parameters",
    [{"range": [0, 2**80]}, {"a": json.loads('{"a":' * 40 + "1" + "}" * 40)}, {"a": "\ud800"}],
    ids=["huge number", "deep", "half a character"],
)
async def test_what_no_agent_can_read_is_not_taken(user: User, parameters: dict[str, Any]) -> None:
    """On the link it would break the session of every job, again and again."""
    body = json.dumps({"agent": "prod-eu", "kind": "fetch-artifact", "parameters": parameters})
    headers = {"Content-Type": "application/json"}
    async with user.session.post("/api/v1/jobs", data=body, headers=headers) as response:
        assert response.status == 400


async def test_a_body_has_a_limit(user: User) -> None:
    body = io.BytesIO(b"x" * 2_000_000)
    answer = await user.json("POST", "/jobs", data=body, expect=413)
    assert "too_large" in answer["error"]["reason"]


async def test_errors_repeat_no_value(user: User) -> None:
    body = {"agent": "a", "kind": "x", "deadline_s": "hunter2-hunter2"}
    answer = await user.json("POST", "/jobs", json=body, expect=400)
    assert "deadline_s" in answer["error"]["message"]
    assert "hunter2" not in json.dumps(answer)


async def test_every_route_is_described_and_every_description_is_a_route(
    user: User, tmp_path: Path
) -> None:
    """But for the two endpoints of agents, which the protocol describes."""
    document = await user.json("GET", "/openapi.json")
    plane = open_plane(tmp_path, spool_limit=0, record_frames=None)
    app = application(plane, Gate(plane, require_certificate=False), token="t")
    await plane.close()

    described = {(m.upper(), path) for path, one in document["paths"].items() for m in one}
    served = {(route.method, str(route.resource.canonical)) for route in app.router.routes()}
    assert served - {("GET", CONNECT_PATH), ("GET", ENROLL_PATH)} == described


async def test_every_reference_of_the_description_leads_somewhere(user: User) -> None:
    text = json.dumps(document := await user.json("GET", "/openapi.json"))
    schemas = document["components"]["schemas"]
    references = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references <= set(schemas)
    assert {"JobSubmission", "JobView", "ErrorBody"} <= references


async def test_the_events_of_a_job_end_with_its_result(user: User, agent: FakeAgent) -> None:
    job = await user.submit(kind="trigger-pipeline")
    await agent.next(JobRequest)
    async with user.session.get(f"/api/v1/jobs/{job}/events") as response:
        await agent.accept(job)
        await agent.log(job, 0, "épisode 1\n")
        await agent.finish(job, result={"state": "done"})
        seen = [event async for event in events(response)]

    assert (seen[-1][0], seen[-1][2]["state"]) == ("result", "succeeded")
    assert "".join(data["text"] for kind, _, data in seen if kind == "log") == "épisode 1\n"
    assert seen[0][0] == "state"


async def test_the_log_goes_on_after_the_last_event_id(user: User, agent: FakeAgent) -> None:
    job = await user.submit(kind="trigger-pipeline")
    await agent.next(JobRequest)
    await agent.accept(job)
    await agent.log(job, 0, "one\ntwo\n")
    await agent.finish(job)
    await user.ended(job)

    headers = {"Last-Event-ID": "4"}
    async with user.session.get(f"/api/v1/jobs/{job}/events", headers=headers) as response:
        seen = [data async for kind, _, data in events(response) if kind == "log"]
    assert seen == [{"offset": 4, "end": 8, "text": "two\n"}]


async def test_the_events_of_everything(user: User, agent: FakeAgent) -> None:
    async with user.session.get("/api/v1/events") as response:
        stream = events(response)
        assert (await anext(stream))[0] == "agents"
        job = await user.submit()
        kinds = {(kind, data.get("id")) async for kind, _, data in _first(stream, "job")}
    assert ("job", job) in kinds


async def _first(stream: AsyncIterator[Any], kind: str) -> AsyncIterator[Any]:
    async for event in stream:
        yield event
        if event[0] == kind:
            return


async def test_the_page_is_locked_down(user: User) -> None:
    """No token for the page itself; no inline script, no foreign origin, no frame."""
    async with (
        aiohttp.ClientSession(user.base) as stranger,
        stranger.get("/") as response,
    ):
        policy = response.headers["Content-Security-Policy"]
        assert response.status == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/..%2fserver.py", "/%2e%2e/server.py", "/server.py", "/nothing"])
async def test_only_files_of_the_dashboard_are_served(user: User, path: str) -> None:
    async with user.session.get(path) as response:
        assert response.status == 404


async def test_health_and_metrics(user: User, agent: FakeAgent) -> None:
    async with user.session.get("/healthz") as response:
        assert response.status == 200
    async with user.session.get("/metrics") as response:
        assert "control_plane_instances_online 1.0" in await response.text()


async def test_the_token_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    async with plane_in(tmp_path):
        first = (tmp_path / "api-token").read_text()
    async with plane_in(tmp_path):
        assert (tmp_path / "api-token").read_text() == first
    assert (tmp_path / "api-token").stat().st_mode & 0o777 == 0o600


async def test_a_port_that_is_taken_is_a_mistake_of_usage(user: User, tmp_path: Path) -> None:
    port = int(user.base.rsplit(":", 1)[1])
    with pytest.raises(UsageError, match="cannot listen"):
        async with running(ServeOptions(state_dir=tmp_path / "b", listen_port=port)):
            pass
