"""Measures what docs/performance.md tells, on one machine, and holds it against the bars.

`make bench ARGS=--quick` is a first look; without it, it takes some minutes.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import beside, dispatch, footprint, large, peers, programs, small
from benchmarks.agent_python import ROOT, make_agent_python, use_bytecode
from benchmarks.bars import table
from benchmarks.clients import Download
from benchmarks.observed import load
from benchmarks.stage import BenchWorld, Stage, stage, started

PARTS = ("large", "small", "beside", "control", "memory", "start", "dispatch")
CACHE = ROOT / ".cache" / "benchmarks"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    rounds: int
    mib: int
    seconds: int
    cancels: int
    jobs: int


FULL = Extent(rounds=5, mib=1024, seconds=4, cancels=50, jobs=300)
QUICK = Extent(rounds=2, mib=128, seconds=2, cancels=10, jobs=50)


def main() -> int:
    """Measure, write the results, print the table; return 2 when a program is missing."""
    options = _options()
    if missing := programs.missing(options.parts):
        print(f"Not installed: {', '.join(missing)}. {programs.ADVICE}", file=sys.stderr)
        return 2
    extent = _extent(options)
    python = make_agent_python(CACHE)
    use_bytecode(CACHE)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        stage(Path(directory), large_mib=extent.mib, agent_python=python) as here,
    ):
        results = _measure(here, extent, options.parts)
    written = _write(results)
    print(table(results), f"\nAll figures: {written.relative_to(ROOT)}", sep="\n")
    return 0


def _measure(here: Stage, extent: Extent, parts: list[str]) -> dict[str, Any]:
    results: dict[str, Any] = {"machine": _machine(), "extent": str(extent)}

    def note(part: str, measure: Callable[[], dict[str, object]]) -> None:
        if part in parts:
            began = time.monotonic()
            before = load()
            results[part] = {**measure(), "load before": before}
            took = time.monotonic() - began
            print(f"{part}: {took:.0f} s\n{json.dumps(results[part])}", file=sys.stderr, flush=True)

    with (
        dispatch.probe_store() as probe,
        started(BenchWorld(here, "agent", probe_url=probe.url)) as world,
    ):
        if "large" in parts or "small" in parts:
            with _beside_peers(here, world) as paths:
                note(
                    "large",
                    lambda: large.measure_large(
                        paths.large, size=here.large_bytes, rounds=extent.rounds
                    ),
                )
                note(
                    "small",
                    lambda: small.measure_small(
                        paths.small,
                        rounds=extent.rounds,
                        seconds=extent.seconds,
                        directory=here.directory,
                    ),
                )
        note("beside", lambda: beside.measure_small_beside_large(world, rounds=extent.rounds))
        note("dispatch", lambda: dispatch.measure_dispatch(world, probe, jobs=extent.jobs))
    if {"memory", "start"} & set(parts):
        # A world of its own: an agent reads the records of its former jobs when it starts.
        with started(BenchWorld(here, "fresh")) as world:
            note("memory", lambda: footprint.measure_memory(world, rounds=extent.rounds))
            note("start", lambda: footprint.measure_start(world, rounds=extent.rounds))
    if "control" in parts:
        with started(BenchWorld(here, "beating"), "--heartbeat", f"{beside.HEARTBEAT_S}s") as world:
            note(
                "control",
                lambda: beside.measure_control_beside_large(world, cancels=extent.cancels),
            )
    return results


@dataclass(frozen=True, slots=True)
class Paths:
    """Every way to the two objects."""

    large: list[large.Path]
    small: dict[str, Download]


@contextmanager
def _beside_peers(here: Stage, world: BenchWorld) -> Iterator[Paths]:
    """Start the peers, and worlds that upload and that have TLS."""
    ways = [large.Path("direct", here.direct("large.bin"))]
    small_ones = {"direct": here.direct("small.bin"), "agent": world.fetch("small.bin")}
    with ExitStack() as running:
        for peer in _started_peers(here, running):
            ways.append(large.Path(peer.name, peer.download("large.bin"), peer.pid))
            if peer.name == "snyk-broker":
                small_ones[peer.name] = peer.download("small.bin")
        secure = running.enter_context(started(BenchWorld(here, "secure")))
        secure.secure()
        uploading = running.enter_context(started(BenchWorld(here, "uploading", upload=True)))
        safely = running.enter_context(started(BenchWorld(here, "safely", upload=True)))
        safely.secure()
        ways += [
            large.Path(large.AGENT, world.fetch("large.bin"), world.agent_pid),
            large.Path(large.UPLOAD, uploading.fetch("large.bin"), uploading.agent_pid),
            large.Path(large.TLS, secure.fetch("large.bin"), secure.agent_pid),
            large.Path(large.UPLOAD_TLS, safely.fetch("large.bin"), safely.agent_pid),
            # Last, because the disk is busy for a while after it.
            large.Path(large.KEPT, None, world.agent_pid, world),
        ]
        yield Paths(ways, small_ones)


def _started_peers(here: Stage, running: ExitStack) -> Iterator[peers.Peer]:
    installed = peers.install_snyk_broker(CACHE / "snyk-broker")
    for name in ("nginx", "ssh", "snyk"):
        (here.directory / f"peer-{name}").mkdir()
    origin, at = here.origin.url, here.directory
    yield running.enter_context(peers.nginx_hop(origin, at / "peer-nginx"))
    yield running.enter_context(peers.ssh_tunnel(origin, at / "peer-ssh"))
    yield running.enter_context(peers.snyk_broker(origin, at / "peer-snyk", installed=installed))


def _machine() -> dict[str, object]:
    model = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]  # fmt: skip
    return {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "cores": os.cpu_count(),
        "processor": model[0] if model else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _write(results: dict[str, Any]) -> Path:
    directory = ROOT / "benchmarks" / "results"
    directory.mkdir(exist_ok=True)
    path = directory / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path


def _extent(options: argparse.Namespace) -> Extent:
    extent = QUICK if options.quick else FULL
    given = {name: getattr(options, name) for name in ("rounds", "mib")}
    return replace(extent, **{name: value for name, value in given.items() if value is not None})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 128 MiB")
    parser.add_argument("--rounds", type=int, help="of each comparison (default: 5)")
    parser.add_argument("--mib", type=int, help="size of the large object (default: 1024)")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="measure only these"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
