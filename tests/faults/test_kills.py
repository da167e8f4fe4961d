"""kill -9 at random moments loses no accepted job and runs none twice."""

import collections
import os
import random
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from demo.world import AGENT, World

KILLS = int(os.environ.get("KILLS", "20"))
OPEN_JOBS = 12
ENDED = {"succeeded", "failed", "refused", "cancelled", "timed_out", "outcome_unknown"}

_COUNTED = """\
import os, time
with open(os.environ["COUNT_FILE"], "a") as file:
    file.write(os.environ["CLOUD_AGENT_RUN_ID"] + "\\n")
time.sleep(0.2)
print("done", flush=True)
"""


class Cloud:
    """Keeps jobs flowing: small and large fetches, and pipelines that count themselves."""

    def __init__(self, world: World, small: str, large: str) -> None:
        self._world = world
        self._kinds = [
            ("fetch-artifact", {"uri": small}),
            ("fetch-artifact", {"uri": large}),
            ("trigger-pipeline", {"pipeline": "counted", "wait": True}),
            ("trigger-pipeline", {"pipeline": "counted"}),
        ]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloud")
        self.submitted: dict[str, str] = {}

    def __enter__(self) -> "Cloud":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(0.02):
            unfinished = sum(
                len(self._world.rest(f"/jobs?state={state}&limit=100")["jobs"])
                for state in ("queued", "requested", "running")
            )
            for _ in range(OPEN_JOBS - unfinished):
                kind, parameters = self._kinds[len(self.submitted) % len(self._kinds)]
                job = {"agent": AGENT, "kind": kind, "parameters": parameters}
                self.submitted[self._world.rest("/jobs", job)["id"]] = kind


@pytest.fixture
def counted(world: World, tmp_path: Path) -> Path:
    """A file into which each run of the pipeline ``counted`` writes its name."""
    script, counts = tmp_path / "counted.py", tmp_path / "counts"
    script.write_text(_COUNTED)
    counts.touch()
    config = yaml.safe_load(world.config_file.read_text())
    config["pipelines"].append({
        "name": "counted", "runner": "process", "command": [sys.executable, str(script)],
        "environment": {"COUNT_FILE": str(counts)},
    })  # fmt: skip
    config["policy"]["rules"].append({"allow": ["trigger-pipeline"], "pipelines": ["counted"]})
    world.config_file.write_text(yaml.safe_dump(config))
    world.agent.stop()
    return counts


@pytest.mark.timeout(1800)
def test_kills_lose_no_job_and_repeat_no_effect(world: World, counted: Path):
    """Every job ends once, every pipeline started once; the pipeline itself counts."""
    small, large = (
        world.put("small.bin", os.urandom(20_000)),
        world.put("l.bin", os.urandom(1 << 24)),
    )
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with Cloud(world, small, large) as cloud:
        for _ in range(KILLS):
            world.start_agent(wait=False)
            time.sleep(chance.uniform(0.0, 2.0))
            world.agent.kill()
    world.start_agent()

    ended = {job: world.ended(job, timeout=120) for job in cloud.submitted}

    states = collections.Counter((view["kind"], view["state"]) for view in ended.values())
    print(f"{KILLS} kills, {dict(states)}")
    assert all(view["state"] == "succeeded" for view in ended.values()), states
    runs = collections.Counter(counted.read_text().split())
    triggered = {job for job, kind in cloud.submitted.items() if kind == "trigger-pipeline"}
    assert triggered == set(runs)
    assert {1} == set(runs.values())
    assert len(triggered) >= KILLS // 4
