"""A control plane that was written from agent/protocol/README.md alone, and the real agent."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from agent.errors import Exit
from tests.protocol.minimal_control_plane import MinimalControlPlane
from tests.servers.processes import spawn
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
PIPELINE = "import sys; print('epochs:', sys.argv[1], flush=True); print('model written')"


class Site:
    """A customer's machine: a directory of artifacts, a pipeline, and an agent's configuration."""

    def __init__(self, directory: Path, url: str, join_token: str) -> None:
        self.artifacts = directory / "artifacts"
        self.artifacts.mkdir(parents=True)
        self.config_file = directory / "agent.yaml"
        self.log = directory / "agent.log"
        self.token_file = directory / "join-token"
        self.token_file.write_text(join_token)
        self.config_file.write_text(yaml.safe_dump(self._config(directory, url)))

    def put(self, name: str, content: bytes) -> str:
        """Store an artifact; return its URI."""
        (self.artifacts / name).write_bytes(content)
        return self.uri(name)

    def uri(self, name: str = "") -> str:
        return f"file://{self.artifacts}/{name}"

    def command(self, verb: str) -> list[str]:
        return [sys.executable, "-m", "agent", verb, "-c", str(self.config_file)]

    def _config(self, directory: Path, url: str) -> dict[str, Any]:
        return {
            "control_plane": {
                "url": url,
                "join_token_file": str(self.token_file),
                "backoff": {"first": "50ms", "longest": "200ms", "stable_after": "1s"},
            },
            "agent": {"name": "prod-eu", "state_dir": str(directory / "state")},
            "artifact_stores": [{"name": "local", "uri": f"file://{self.artifacts}"}],
            "pipelines": [
                {
                    "name": "train",
                    "runner": "process",
                    "command": [sys.executable, "-c", PIPELINE, "{epochs}"],
                    "parameters": {"epochs": {"type": "integer", "minimum": 1}},
                }
            ],
            "policy": {
                "rules": [
                    {"allow": "*", "artifacts": [f"file://{self.artifacts}/**"]},
                    {"allow": ["trigger-pipeline"], "pipelines": ["train"]},
                    {"deny": "*", "artifacts": ["**/pii.csv"]},
                ]
            },
            "telemetry": {"listen": None},
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane() -> AsyncIterator[MinimalControlPlane]:
    async with MinimalControlPlane() as plane:
        yield plane


@pytest.fixture(scope="module")
def join_token(plane: MinimalControlPlane) -> str:
    return plane.register.new_join_token("prod-eu")


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def site(
    plane: MinimalControlPlane, join_token: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A site whose agent has enrolled, and is connected."""
    site = Site(tmp_path_factory.mktemp("site"), plane.url, join_token)
    agent = spawn(site.command("run"), ready=lambda: True, log=site.log)
    try:
        await until(plane.is_connected, timeout=30, message=f"a welcome; see {site.log}")
        yield site
    finally:
        await asyncio.to_thread(agent.stop)


async def test_a_join_token_serves_one_key_only(plane, join_token, tmp_path):
    intruder = Site(tmp_path, plane.url, join_token)

    command = [*intruder.command("enroll"), "--join-token-file", intruder.token_file]
    ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)

    assert Exit.FAILED == ended.returncode
    assert "join_token_rejected" in ended.stderr


async def test_a_fetched_artifact_is_the_file(plane, site):
    expected = secrets.token_bytes(3 * MIB + 1)

    fetched = await plane.run_job("fetch-artifact", {"uri": site.put("model.bin", expected)})

    assert ("succeeded", expected) == (fetched.outcome, fetched.content)
    assert len(expected) == fetched.result["size"]


async def test_an_empty_artifact_is_an_artifact(plane, site):
    fetched = await plane.run_job("fetch-artifact", {"uri": site.put("empty", b"")})

    assert ("succeeded", b"") == (fetched.outcome, fetched.content)


async def test_a_range_includes_both_its_ends(plane, site):
    parameters = {"uri": site.put("bytes", bytes(range(256))), "range": [10, 19]}

    fetched = await plane.run_job("fetch-artifact", parameters)

    assert bytes(range(10, 20)) == fetched.content


async def test_a_directory_is_listed(plane, site):
    uri = site.put("listed.bin", b"12345")

    listed = await plane.run_job("list-artifacts", {"uri": site.uri()})

    entry = next(entry for entry in listed.result["entries"] if entry["uri"] == uri)
    assert ("file", 5) == (entry["kind"], entry["size"])


async def test_a_pipeline_is_triggered_and_its_log_is_read(plane):
    parameters = {"pipeline": "train", "parameters": {"epochs": 3}, "wait": True}

    run = await plane.run_job("trigger-pipeline", parameters)

    assert ("succeeded", "succeeded") == (run.outcome, run.result["state"])
    assert "epochs: 3\nmodel written\n" == run.log


async def test_what_the_policy_denies_is_refused(plane, site):
    denied = site.put("pii.csv", b"name\n")

    refused = await plane.run_job("fetch-artifact", {"uri": denied})

    assert ("refused", "policy_denied") == (refused.outcome, refused.reason)


async def test_a_missing_artifact_fails_the_job(plane, site):
    failed = await plane.run_job("fetch-artifact", {"uri": site.uri("missing")})

    assert ("failed", "not_found") == (failed.outcome, failed.reason)


async def test_a_fetch_survives_the_cut_of_its_connection(plane, site):
    expected = os.urandom(64 * MIB)
    parameters = {"uri": site.put("large.bin", expected)}
    session, socket = plane.session, plane.socket

    fetch = asyncio.create_task(plane.run_job("fetch-artifact", parameters))
    await until(lambda: plane.held_bytes > 8 * MIB, message="a part of the content")
    socket.transport.abort()
    assert plane.held_bytes < len(expected)
    fetched = await fetch

    assert ("succeeded", expected) == (fetched.outcome, fetched.content)
    assert plane.session is session
    assert plane.socket is not socket
