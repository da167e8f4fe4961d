"""Worlds for tests of faults, and what tests look at in them. No claim is tested here."""

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from demo.world import AGENT, World
from tests.waiting import wait_until

QUICK_BACKOFF = {"first": "100ms", "longest": "500ms", "stable_after": "5s"}

_NARRATED = """\
import os, sys, time
from pathlib import Path
home = Path(os.environ["NARRATION"])
with (home / "starts").open("a") as starts:
    starts.write(os.environ["CLOUD_AGENT_RUN_ID"] + "\\n")
line = 0
while line < 20 or not (home / "finish").exists():
    line += 1
    print("line", line, flush=True)
    time.sleep(0.01)
print("the end after line", line, flush=True)
"""


@contextmanager
def started_world(directory: Path, *plane_options: str) -> Iterator[World]:
    """A world with everything started and the agent ready; all of it is stopped at the end."""
    world = World(directory)
    try:
        world.start_stores()
        world.start_plane(*plane_options)
        world.enroll_later()
        world.write_config(control_plane={"backoff": QUICK_BACKOFF})
        world.start_agent()
        yield world
    finally:
        world.stop()


def use_lane(world: World, lane: str) -> None:
    """Have the agent, started anew, send large content by this lane: ``upload`` or ``blocks``."""
    config = yaml.safe_load(world.config_file.read_text())
    config["control_plane"]["upload_from"] = "1MiB" if lane == "upload" else None
    world.config_file.write_text(yaml.safe_dump(config))
    world.agent.stop()
    world.start_agent()


def submit(world: World, kind: str, **parameters: Any) -> str:
    """Submit a job and return its id; does not wait for it."""
    job = {"agent": AGENT, "kind": kind, "parameters": parameters}
    return str(world.rest("/jobs", job)["id"])


def done(world: World, kind: str, **parameters: Any) -> Any:
    """Submit a job and return it ended."""
    return world.ended(submit(world, kind, **parameters))


def got(world: World, path: str) -> bytes:
    """GET *path* of the control plane's REST interface."""
    request = urllib.request.Request(
        f"{world.url}/api/v1{path}", headers={"Authorization": f"Bearer {world.api_token}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def metric(world: World, sample: str) -> float:
    """Return a sample of the agent, named with its labels; 0 when there is none yet."""
    for line in world.agent_metrics().splitlines():
        name, _, value = line.rpartition(" ")
        if name == sample:
            return float(value)
    return 0.0


def sent_bytes(world: World) -> float:
    """Return how much this process of the agent has sent over its links."""
    return metric(world, 'cloud_agent_link_bytes_total{direction="sent"}')


def arrived(world: World, job: str) -> int:
    """Return how much of the content of *job* the control plane has."""
    return int(world.rest(f"/jobs/{job}")["progress"]["bytes"])


def readiness(world: World) -> tuple[int, str]:
    """Return the status and the word of the agent's ``/readyz``."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{world.health_port}/readyz") as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode().strip()


def ask_to_stop(world: World) -> None:
    """Send the agent one SIGTERM; does not wait."""
    os.kill(world.agent.pid, signal.SIGTERM)


class AgentLog:
    """What the agent has logged since this was made."""

    def __init__(self, world: World) -> None:
        self._file = world.directory / "agent.log"
        self._start = self._file.stat().st_size

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of this name, oldest first."""
        with self._file.open("rb") as file:
            file.seek(self._start)
            lines = [json.loads(line) for line in file if line.endswith(b"\n")]
        return [line for line in lines if line["event"] == name]

    def reasons_down(self) -> Counter[str]:
        """Return why links ended."""
        return Counter(event["reason"] for event in self.events("link.down"))


class Narration:
    """A pipeline that writes numbered lines until told to finish, and counts its starts."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._home = world.directory / "narration"

    def install(self) -> None:
        """Add the pipeline to the configuration; the agent has to read it anew."""
        self._home.mkdir()
        script = self._home / "narrated.py"
        script.write_text(_NARRATED)
        config = yaml.safe_load(self._world.config_file.read_text())
        config["pipelines"].append({
            "name": "train-narrated", "runner": "process",
            "command": [sys.executable, str(script)],
            "environment": {"NARRATION": str(self._home)},
        })  # fmt: skip
        self._world.config_file.write_text(yaml.safe_dump(config))

    def begin(self) -> str:
        """Trigger it and wait until its log has begun to arrive; return the job's id."""
        (self._home / "finish").unlink(missing_ok=True)
        job = submit(self._world, "trigger-pipeline", pipeline="train-narrated", wait=True)
        wait_until(
            lambda: b"line 1\n" in got(self._world, f"/jobs/{job}/log"),
            timeout=30,
            message=f"the first line of the log of {job}",
        )
        return job

    def finish(self) -> None:
        """Have it end."""
        (self._home / "finish").touch()

    def prove(self, job: str) -> None:
        """Wait for its end; it ran once, and its log is complete, in order and not repeated."""
        ended = self._world.ended(job)
        assert ("succeeded", 0) == (ended["state"], (ended["result"] or {}).get("exit_code")), ended
        lines = got(self._world, f"/jobs/{job}/log").decode().splitlines()
        count = len(lines) - 1
        expected = [f"line {n + 1}" for n in range(count)]
        assert [*expected, f"the end after line {count}"] == lines
        assert 1 == (self._home / "starts").read_text().split().count(job)
