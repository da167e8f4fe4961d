"""Bars 7 and 8: memory of the agent in four situations, and how fast it starts."""

import subprocess
import time
from dataclasses import asdict
from statistics import median

from benchmarks.clients import Download, curl_command, gigabytes_per_second
from benchmarks.observed import memory, peak_rss
from benchmarks.stage import MANY, SMALL_BYTES, BenchWorld

VERSIONS = 10


def measure_memory(world: BenchWorld, *, rounds: int) -> dict[str, object]:
    """Start the agent anew each time, and return the medians of its memory in MB.

    By default 16 of many jobs run at once and the others wait; a second life lets all of them run.
    """
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        world.write_config()
        world.restart_agent()
        _note(found, _one_life(world))
        world.write_config(agent={"max_concurrent_jobs": MANY})
        world.restart_agent()
        _note(found, _busy_life(world))
    world.write_config()
    return {name: round(median(values), 1) for name, values in found.items()}


def measure_start(world: BenchWorld, *, rounds: int) -> dict[str, object]:
    """Return the medians in seconds of the version verb, and of a start until ready."""
    version = [_version(world) for _ in range(VERSIONS)]
    ready = [world.restart_agent() for _ in range(2 * rounds)]
    return {"version s": round(median(version), 3), "ready s": round(median(ready), 3)}


def _note(found: dict[str, list[float]], life: dict[str, float]) -> None:
    for name, value in life.items():
        found.setdefault(name, []).append(value)


def _one_life(world: BenchWorld) -> dict[str, float]:
    pid, large = world.agent_pid, world.fetch("large.bin")
    idle = memory(pid)
    gigabytes_per_second(world.fetch("small.bin"), size=SMALL_BYTES)
    first = memory(pid)
    with peak_rss(pid) as peak:
        gigabytes_per_second(large, size=world.stage.large_bytes)
        streaming = peak() - first.rss
    rested = memory(pid)
    return {
        **{f"ready, {name}": value for name, value in asdict(idle).items()},
        **{f"after the first job, {name}": value for name, value in asdict(first).items()},
        "one large transfer adds": streaming,
        "after it, rss": rested.rss,
        f"{MANY} transfers add, 16 running": _added_by_many(world, first.rss),
    }


def _busy_life(world: BenchWorld) -> dict[str, float]:
    gigabytes_per_second(world.fetch("small.bin"), size=SMALL_BYTES)
    first = memory(world.agent_pid)
    return {f"{MANY} transfers add, all running": _added_by_many(world, first.rss)}


def _added_by_many(world: BenchWorld, before: float) -> float:
    with peak_rss(world.agent_pid) as peak:
        _at_once(world.fetch("medium.bin"))
        return peak() - before


def _at_once(download: Download) -> None:
    command = [*curl_command(download)[:-1], "--parallel", "--parallel-immediate",
               "--parallel-max", str(MANY)]  # fmt: skip
    for _ in range(MANY):
        command += ["-o", "/dev/null", download.url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    statuses = [line.split()[0] for line in done.stdout.splitlines()]
    assert statuses == ["200"] * MANY, done.stdout


def _version(world: BenchWorld) -> float:
    started = time.monotonic()
    subprocess.run(
        [world.agent_python, "-m", "agent", "version"], check=True, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - started
