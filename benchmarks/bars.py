"""What the figures are held against, as one table. How they are measured stands elsewhere."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.large import AGENT, TLS, UPLOAD
from benchmarks.small import IN_FLIGHT

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise; *measured* takes its figure out of the results."""

    number: int
    what: str
    measured: Callable[[Results], float]
    limit: float
    unit: str
    at_least: bool = False

    def passed(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def bars() -> Iterator[Bar]:
    """Yield every bar that is measured here, in the order of the table."""
    for other, limit in (("snyk-broker", 3.0), ("ssh -R", 1.0), ("direct", 0.25)):
        yield Bar(1, f"large object, against {other}", _times(AGENT, other), limit, "x", True)
    yield Bar(2, "large object, uploaded, against direct", _times(UPLOAD, "direct"), 0.4, "x", True)
    yield Bar(3, "agent CPU per GB without SHA-256, plain", _cpu(AGENT), 1.2, "s")
    yield Bar(3, "agent CPU per GB without SHA-256, TLS", _cpu(TLS), 1.7, "s")
    for number in IN_FLIGHT:
        yield Bar(4, f"16 KiB, requests/s at {number}, against snyk-broker",
                  _small(number, "requests/s"), 3.0, "x", True)  # fmt: skip
        yield Bar(4, f"16 KiB, p50 at {number}, against snyk-broker",
                  _small(number, "p50 ms"), 0.5, "x")  # fmt: skip
    yield Bar(5, "16 KiB beside a large object, p99", _at("beside", "16 KiB", "p99 ms"), 25, "ms")
    yield Bar(5, "the large object keeps", _at("beside", "large keeps"), 0.8, "x", True)
    yield Bar(6, "heartbeat beside 4 large, p99", _at("control", "heartbeat", "p99 ms"), 20, "ms")
    yield Bar(6, "cancel beside 4 large, p99", _at("control", "cancel", "p99 ms"), 20, "ms")
    yield Bar(7, "RSS when ready", _at("memory", "ready, rss"), 48, "MB")
    yield Bar(7, "RSS after the first S3 job", _at("memory", "after the first job, rss"), 66, "MB")
    yield Bar(7, "one large object adds", _at("memory", "one large transfer adds"), 24, "MB")
    for running in ("16 running", "all running"):
        yield Bar(7, f"64 fetches at once add, {running}",
                  _at("memory", f"64 transfers add, {running}"), 64, "MB")  # fmt: skip
    yield Bar(8, "cloud-agent version", _at("start", "version s"), 0.15, "s")
    yield Bar(8, "start until ready", _at("start", "ready s"), 0.7, "s")
    yield Bar(9, "dispatch, p50", _at("dispatch", "from the answer", "p50 ms"), 3, "ms")
    yield Bar(9, "dispatch, p99", _at("dispatch", "from the answer", "p99 ms"), 10, "ms")


def table(results: Results) -> str:
    """Return the bars and their figures as Markdown; what was not measured is left out."""
    rows = ["| # | what | bar | measured | |", "|---|---|---|---|---|"]
    for bar in bars():
        try:
            value = bar.measured(results)
        except KeyError:
            continue
        sign = ">=" if bar.at_least else "<="
        verdict = "passed" if bar.passed(value) else "**missed**"
        rows.append(
            f"| {bar.number} | {bar.what} | {sign} {bar.limit:g} {bar.unit} "
            f"| {value:.3g} {bar.unit} | {verdict} |"
        )
    return "\n".join(rows)


def _at(*path: str) -> Callable[[Results], float]:
    def value(results: Results) -> float:
        for name in path:
            results = results[name]
        return float(results)  # type: ignore[arg-type]

    return value


def _times(path: str, other: str) -> Callable[[Results], float]:
    def ratio(results: Results) -> float:
        ours, theirs = (results["large"]["paths"][name]["rounds"] for name in (path, other))
        # Round by round: the machine may be slower in one round than in the next.
        return float(median(one / two for one, two in zip(ours, theirs, strict=True)))

    return ratio


def _cpu(path: str) -> Callable[[Results], float]:
    def seconds(results: Results) -> float:
        large = results["large"]
        return float(large["paths"][path]["CPU s/GB"] - large["SHA-256 alone, CPU s/GB"])

    return seconds


def _small(number: int, figure: str) -> Callable[[Results], float]:
    def ratio(results: Results) -> float:
        names = ("agent", "snyk-broker")
        ours, theirs = (results["small"][name][number]["rounds"] for name in names)
        return float(
            median(one[figure] / two[figure] for one, two in zip(ours, theirs, strict=True))
        )

    return ratio
