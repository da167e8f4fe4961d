"""What the kernel tells of a process: CPU time and memory. Nothing is started here."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MB of 10**6 bytes. *rss* counts shared libraries in full, *pss* in part,
    *private* not at all."""

    rss: float
    pss: float
    private: float


def cpu_seconds(pid: int) -> float:
    """Return what all threads of *pid* have used so far, user and system, to a hundredth."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> Memory:
    """Return the memory of now, after a moment for what is just being given back. Waits 1 s."""
    time.sleep(_SETTLE_S)
    kilobytes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        kilobytes[name] = int(value.split()[0])
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return Memory(*(_mb(amount) for amount in (kilobytes["Rss"], kilobytes["Pss"], private)))


@contextmanager
def peak_rss(pid: int) -> Iterator[Callable[[], float]]:
    """Yield a function that returns the highest RSS of *pid* since then, in MB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak() -> float:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return _mb(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")))

    yield peak


def load() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 1)


def _mb(kilobytes: int) -> float:
    return round(kilobytes * 1024 / 1e6, 1)
