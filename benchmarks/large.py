"""Bars 1 to 3: one large object, over every path in turn, and what the agent's CPU does for it."""

import hashlib
import time
from dataclasses import dataclass, field
from statistics import median

from benchmarks.clients import Download, gigabytes_per_second
from benchmarks.observed import cpu_seconds
from benchmarks.stage import MIB, BenchWorld

HASHED_BYTES = 512 * MIB
AGENT, KEPT, TLS = "agent, relayed", "agent, kept", "agent, relayed over TLS"
UPLOAD, UPLOAD_TLS = "agent, uploaded", "agent, uploaded over TLS"


@dataclass
class Path:
    """One way to the object; *pid* is the process beside the origin, if CPU time is wanted."""

    name: str
    large: Download | None
    pid: int | None = None
    world: BenchWorld | None = None
    speeds: list[float] = field(default_factory=list)
    """GB/s, one per round."""
    cpu: list[float] = field(default_factory=list)
    """Seconds per GB of the process beside the origin."""

    def warm_up(self, size: int) -> None:
        """Download once, uncounted: an agent's first job logs in and loads SDKs."""
        gigabytes_per_second(self._download(), size=size)

    def measure(self, size: int) -> None:
        """Download once."""
        before = cpu_seconds(self.pid) if self.pid is not None else 0.0
        self.speeds.append(gigabytes_per_second(self._download(), size=size))
        if self.pid is not None:
            self.cpu.append((cpu_seconds(self.pid) - before) / (size / 1e9))

    def _download(self) -> Download:
        if self.large is not None:
            return self.large
        assert self.world is not None
        return self.world.kept("large.bin")

    def report(self) -> dict[str, object]:
        """Return all figures, medians first."""
        return {
            "GB/s": round(median(self.speeds), 3),
            "CPU s/GB": round(median(self.cpu), 3) if self.cpu else None,
            "rounds": [round(speed, 3) for speed in self.speeds],
            "CPU rounds": [round(seconds, 3) for seconds in self.cpu],
        }


def sha256_seconds_per_gb() -> float:
    """Return the CPU time of hashing alone, in the blocks that the agent hashes."""
    block = bytes(MIB)
    digest = hashlib.sha256()
    before = time.process_time()
    for _ in range(HASHED_BYTES // MIB):
        digest.update(block)
    return (time.process_time() - before) / (HASHED_BYTES / 1e9)


def measure_large(paths: list[Path], *, size: int, rounds: int) -> dict[str, object]:
    """Take the paths in turn, *rounds* times, and the hash alone with them."""
    hashing = []
    for path in paths:
        path.warm_up(size)
    for _ in range(rounds):
        hashing.append(sha256_seconds_per_gb())
        for path in paths:
            path.measure(size)
    return {
        "paths": {path.name: path.report() for path in paths},
        "SHA-256 alone, CPU s/GB": round(median(hashing), 3),
    }
