"""Bars 7 and 8: memory of the agent in four situations, and how fast it starts."""

import subprocess
import time
from dataclasses import asdict
from statistics import median

from benchmarks.clients import Download, curl_command, gigabytes_per_second
from benchmarks.observed import memory, peak_rss
from benchmarks.stage import JOBS_AT_ONCE, SMALL_BYTES, BenchWorld

VERSIONS = 10


def measure_memory(world: BenchWorld, *, rounds: int) -> dict[str, object]:
    """Start the agent anew each round, and return the medians of its memory in MB."""
    stages: dict[str, list[float]] = {}
    for _ in range(rounds):
        world.restart_agent()
        for name, value in _one_life(world).items():
            stages.setdefault(name, []).append(value)
    return {name: round(median(values), 1) for name, values in stages.items()}


def measure_start(world: BenchWorld, *, rounds: int) -> dict[str, object]:
    """Return the medians in seconds of the version verb, and of a start until ready."""
    version = [_version(world) for _ in range(VERSIONS)]
    ready = [world.restart_agent() for _ in range(2 * rounds)]
    return {"version s": round(median(version), 3), "ready s": round(median(ready), 3)}


def _one_life(world: BenchWorld) -> dict[str, float]:
    pid, small, large = world.agent_pid, world.fetch("small.bin"), world.fetch("large.bin")
    idle = memory(pid)
    gigabytes_per_second(small, size=SMALL_BYTES)
    first = memory(pid)
    with peak_rss(pid) as peak:
        gigabytes_per_second(large, size=world.stage.large_bytes)
        streaming = peak() - first.rss
    rested = memory(pid)
    with peak_rss(pid) as peak:
        _at_once(world.fetch("medium.bin"))
        many = peak() - first.rss
    return {
        **{f"ready, {name}": value for name, value in asdict(idle).items()},
        **{f"after the first job, {name}": value for name, value in asdict(first).items()},
        "one large transfer adds": streaming,
        "after it, rss": rested.rss,
        f"{JOBS_AT_ONCE} transfers add": many,
    }


def _at_once(download: Download) -> None:
    command = [*curl_command(download)[:-1], "--parallel", "--parallel-immediate",
               "--parallel-max", str(JOBS_AT_ONCE)]  # fmt: skip
    for _ in range(JOBS_AT_ONCE):
        command += ["-o", "/dev/null", download.url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    statuses = [line.split()[0] for line in done.stdout.splitlines()]
    assert statuses == ["200"] * JOBS_AT_ONCE, done.stdout


def _version(world: BenchWorld) -> float:
    started = time.monotonic()
    subprocess.run(
        [world.agent_python, "-m", "agent", "version"], check=True, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - started
