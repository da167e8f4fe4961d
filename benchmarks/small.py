"""Bar 4: many small objects, over every path in turn, by the same client."""

from pathlib import Path
from statistics import median

from benchmarks.clients import Download, Speed, wrk

IN_FLIGHT = (1, 16, 64)


def measure_small(
    paths: dict[str, Download], *, rounds: int, seconds: int, directory: Path
) -> dict[str, object]:
    """Take the paths in turn at each number in flight; return medians by name and number."""
    taken: dict[tuple[str, int], list[Speed]] = {}
    for name, download in paths.items():
        wrk(download, in_flight=max(IN_FLIGHT), seconds=1, directory=directory)  # warms up
        taken.update({(name, number): [] for number in IN_FLIGHT})
    for _ in range(rounds):
        for (name, number), speeds in taken.items():
            speeds.append(wrk(paths[name], in_flight=number, seconds=seconds, directory=directory))
    return {name: {number: _middle(taken[name, number]) for number in IN_FLIGHT} for name in paths}


def _middle(speeds: list[Speed]) -> dict[str, object]:
    return {
        "requests/s": round(median(speed.per_second for speed in speeds), 1),
        "p50 ms": round(median(speed.p50_ms for speed in speeds), 2),
        "p99 ms": round(median(speed.p99_ms for speed in speeds), 2),
        "rounds": [
            {"requests/s": round(speed.per_second, 1), "p50 ms": round(speed.p50_ms, 2)}
            for speed in speeds
        ],
    }
