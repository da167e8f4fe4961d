"""Large content by HTTP: either way the bytes and the outcome are the same."""

import json
import os
import urllib.request
from typing import Any

import pytest

from control_plane_stub.agents.recording import read_records
from demo.world import AGENT, World
from tests.faults.worlds import AgentLog, done, got, metric, sent_bytes, use_lane

MIB = 1024 * 1024
CONTENTS = {
    "empty": b"",
    "one byte below": os.urandom(MIB - 1),
    "exactly": os.urandom(MIB),
    "one byte above": os.urandom(MIB + 1),
    "many segments": os.urandom(12 * MIB + 12_345),
}
RANGES = {"many segments": [[0, 0], [5, 3 * MIB], [4 * MIB, 2**40]]}


def fetched(world: World, uri: str, **parameters: Any) -> dict[str, Any]:
    """Fetch it; return what the job tells of itself, and the content."""
    job = done(world, "fetch-artifact", uri=uri, **parameters)
    view = {name: job[name] for name in ("state", "reason", "message", "result", "trailer")}
    return {**view, "content": got(world, f"/jobs/{job['id']}/content")}


def relayed(world: World, uri: str) -> bytes:
    """Fetch it in one request, of which nothing is kept."""
    request = urllib.request.Request(
        f"{world.url}/api/v1/fetch",
        data=json.dumps({"agent": AGENT, "uri": uri}).encode(),
        headers={
            "Authorization": f"Bearer {world.api_token}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def uploads(world: World) -> dict[str, int]:
    """Return the sizes of the contents that were announced as uploads so far, by job."""
    found: dict[str, int] = {}
    for record in read_records(world.frames):
        if record.direction == "in" and record.data.startswith(b'{"type":"job.content"'):
            content = json.loads(record.data)
            if content.get("lane") == "upload":
                found[content["job"]] = content["size"]
    return found


def uploaded_bytes(world: World) -> int:
    return sum(len(one.data) for one in read_records(world.frames) if one.direction == "upload")


def test_either_way_the_bytes_and_the_outcome_are_the_same(world):
    """The first by HTTP, the second in blocks; with ranges, from nothing to many segments."""
    uris = {name: world.put(f"{name}.bin", content) for name, content in CONTENTS.items()}
    asked = [(name, {}) for name in CONTENTS]
    asked += [(name, {"range": span}) for name, spans in RANGES.items() for span in spans]

    use_lane(world, "upload")
    by_upload = [fetched(world, uris[name], **parameters) for name, parameters in asked]
    uploaded = uploads(world)
    use_lane(world, "blocks")
    in_blocks = [fetched(world, uris[name], **parameters) for name, parameters in asked]

    assert by_upload == in_blocks
    for (name, parameters), job in zip(asked, by_upload, strict=True):
        first, last = parameters.get("range", [0, 2**40])
        assert CONTENTS[name][first : last + 1] == job["content"]
    large = [len(job["content"]) for job in by_upload if len(job["content"]) >= MIB]
    assert sorted(large) == sorted(uploaded.values())
    assert sum(large) == uploaded_bytes(world)
    assert uploaded == uploads(world)


def test_uploads_are_counted_as_bytes_over_the_link(world):
    """Both lanes together; the log says nothing of what went well."""
    uri = world.put("counted.bin", os.urandom(5 * MIB))
    use_lane(world, "upload")
    log = AgentLog(world)

    done(world, "fetch-artifact", uri=uri)

    assert 5 * MIB < sent_bytes(world) < 5.1 * MIB
    assert metric(world, 'cloud_agent_artifact_bytes_total{store_type="s3"}') == 5 * MIB
    assert not log.events("upload.interrupted")


def test_a_fetch_that_is_not_kept_is_uploaded_as_well(world):
    content = os.urandom(9 * MIB)
    uri = world.put("relayed.bin", content)
    use_lane(world, "upload")
    before = len(uploads(world))

    assert content == relayed(world, uri)
    assert before + 1 == len(uploads(world))


@pytest.mark.parametrize("lane", ["upload", "blocks"])
def test_a_limit_of_the_policy_holds_in_both_lanes(world, lane):
    uri = world.put("limited.bin", os.urandom(3 * MIB))
    use_lane(world, lane)

    job = done(world, "fetch-artifact", uri=uri, max_bytes=3 * MIB - 1)

    assert ("failed", "too_large") == (job["state"], job["reason"])


def test_a_control_plane_without_uploads_gets_blocks(world):
    content = os.urandom(9 * MIB)
    uri = world.put("blocks.bin", content)
    use_lane(world, "upload")
    before = len(uploads(world))
    world.plane.stop()
    world.start_plane("--no-upload")

    try:
        assert content == fetched(world, uri)["content"]
        assert before == len(uploads(world))
    finally:
        world.plane.stop()
        world.start_plane()
