"""Many small fetches beside a large one: nobody starves, and the heartbeat keeps its rhythm."""

import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from demo.world import AGENT, World
from tests.faults.worlds import AgentLog, metric

INTERVAL = 0.2
PLANE_OPTIONS = ("--heartbeat", "200ms")
CLIENTS = 50
IN_A_ROW = 6
SMALL = 64 * 1024
LARGE = int(os.environ.get("CROWD_MIB", "256")) * 1024 * 1024
BEATS = "cloud_agent_link_round_trip_seconds_count"
# A beat is answered before the next one is due in so long, on two cores that others use as well.
RHYTHM = 0.5


def fetched(world: World, uri: str) -> Iterator[bytes]:
    """Yield the content of *uri* in pieces, by one request that stores nothing."""
    request = urllib.request.Request(
        f"{world.url}/api/v1/fetch",
        data=json.dumps({"agent": AGENT, "uri": uri}).encode(),
        headers={"Authorization": f"Bearer {world.api_token}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        while piece := answer.read(1024 * 1024):
            yield piece


@contextmanager
def large_fetches(world: World, uri: str) -> Iterator[list[int]]:
    """Fetch *uri* again and again for the time of the block; the sizes are added to the list."""
    sizes: list[int] = []
    enough = threading.Event()

    def fetch_on() -> None:
        while not enough.is_set():
            sizes.append(sum(map(len, fetched(world, uri))))

    thread = threading.Thread(target=fetch_on, name="large")
    thread.start()
    try:
        yield sizes
    finally:
        enough.set()
        thread.join()


@pytest.mark.timeout(180)
def test_a_crowd_beside_a_large_fetch_is_served_and_heartbeats_go_on(world: World):
    """Each of 50 clients gets its 6 artifacts; the link stays up all the time."""
    content = os.urandom(SMALL)
    small = world.put("small.bin", content)
    large = world.put("large.bin", os.urandom(1 << 20) * (LARGE >> 20))
    log, beats, started = AgentLog(world), metric(world, BEATS), time.monotonic()

    def client(_: int) -> list[float]:
        return [_timed(world, small, content) for _ in range(IN_A_ROW)]

    with large_fetches(world, large) as sizes, ThreadPoolExecutor(CLIENTS) as crowd:
        waits = sorted(wait for times in crowd.map(client, range(CLIENTS)) for wait in times)

    elapsed = time.monotonic() - started
    beats = metric(world, BEATS) - beats
    print(
        f"{len(waits)} fetches in {elapsed:.1f} s beside {len(sizes)} of {LARGE >> 20} MiB: "
        f"median {waits[len(waits) // 2]:.3f} s, slowest {waits[-1]:.3f} s; {beats:.0f} beats"
    )
    assert {LARGE} == set(sizes)
    assert waits[-1] < 10
    assert beats >= RHYTHM * elapsed / INTERVAL
    assert not log.events("link.down")


def _timed(world: World, uri: str, content: bytes) -> float:
    started = time.monotonic()
    assert content == b"".join(fetched(world, uri))
    return time.monotonic() - started
