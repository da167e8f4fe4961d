"""Bars 5 and 6: what small requests, heartbeats and cancels wait for beside large transfers."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.asking import Asker, spread, states
from benchmarks.clients import Download, curl_command, gigabytes_per_second
from benchmarks.stage import BenchWorld

PER_SECOND = 20
"""Small requests beside the transfer: a person's pace, and little CPU beside it on few cores."""
LARGE_AT_ONCE = 4
HEARTBEAT_S = 0.25


def measure_small_beside_large(world: BenchWorld, *, rounds: int) -> dict[str, object]:
    """Take the large object *rounds* times alone and *rounds* times with small ones beside it."""
    large, size = world.fetch("large.bin"), world.stage.large_bytes
    alone, beside, waits = [], [], list[float]()
    for _ in range(rounds):
        alone.append(gigabytes_per_second(large, size=size))
        with _small_requests(world, waits):
            beside.append(gigabytes_per_second(large, size=size))
    return {
        "16 KiB": spread(waits),
        "large alone, GB/s": round(median(alone), 3),
        "large beside them, GB/s": round(median(beside), 3),
        "large keeps": round(median(beside) / median(alone), 3),
    }


def measure_control_beside_large(world: BenchWorld, *, cancels: int) -> dict[str, object]:
    """Time heartbeats and cancels of transfers while four others run.

    The world's control plane has to beat each `HEARTBEAT_S`.
    """
    trips: list[float] = []
    with _transfers(world.fetch("large.bin")), _watched_heartbeat(world, trips):
        times = [_cancelled(world) for _ in range(cancels)]
        while len(trips) < 2 * cancels:
            time.sleep(HEARTBEAT_S)
    return {"heartbeat": spread(trips), "cancel": spread(times)}


def _cancelled(world: BenchWorld) -> float:
    """Begin a transfer that nobody reads, cancel it, return how long its end took to be told."""
    asker = Asker(world)
    job = world.submit("large.bin", content="relay")
    told = states(world, job)
    while next(told) != "running":
        pass
    started = time.monotonic()
    asker.rest(f"/jobs/{job}/cancel", {})
    while next(told) != "cancelled":
        pass
    took = time.monotonic() - started
    asker.close()
    return took


@contextmanager
def _small_requests(world: BenchWorld, waits: list[float]) -> Iterator[None]:
    stop = threading.Event()
    asker = Asker(world)
    small = world.fetch("small.bin")

    def ask() -> None:
        while not stop.wait(1 / PER_SECOND):
            started = time.monotonic()
            asker.download(small)
            waits.append(time.monotonic() - started)

    with _thread(ask, stop):
        yield
    asker.close()


@contextmanager
def _watched_heartbeat(world: BenchWorld, trips: list[float]) -> Iterator[None]:
    stop = threading.Event()
    asker = Asker(world)

    def watch() -> None:
        last = None
        while not stop.wait(HEARTBEAT_S / 2):
            (agent,) = asker.rest("/agents")["agents"]
            trip = agent["instances"][0]["round_trip_ms"]
            if trip is not None and trip != last:
                last = trip
                trips.append(trip / 1e3)

    with _thread(watch, stop):
        yield
    asker.close()


@contextmanager
def _transfers(large: Download) -> Iterator[None]:
    """Keep `LARGE_AT_ONCE` transfers running."""
    stop = threading.Event()
    running: set[subprocess.Popen[bytes]] = set()

    def repeat() -> None:
        while not stop.is_set():
            process = subprocess.Popen(curl_command(large), stdout=subprocess.DEVNULL)
            running.add(process)
            process.wait()
            running.discard(process)

    threads = [threading.Thread(target=repeat) for _ in range(LARGE_AT_ONCE)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    try:
        yield
    finally:
        stop.set()
        for process in list(running):
            process.kill()
        for thread in threads:
            thread.join()


@contextmanager
def _thread(target: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
