"""A lean HTTP client for single timed requests; for load there is `clients`."""

import http.client
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from benchmarks.clients import Download
from benchmarks.stage import BenchWorld


class Asker:
    """One kept connection to the control plane of *world*; for one thread."""

    def __init__(self, world: BenchWorld) -> None:
        address = urlsplit(world.url)
        self._world = world
        self._connection = http.client.HTTPConnection(address.netloc, timeout=120)

    def rest(self, path: str, body: Any = None) -> Any:
        """Ask the REST interface; return the JSON of the answer."""
        method = "GET" if body is None else "POST"
        text = None if body is None else json.dumps(body)
        return json.loads(self._ask(method, f"/api/v1{path}", text))

    def download(self, download: Download) -> int:
        """Take the content; return its size."""
        return len(self._ask("POST", urlsplit(download.url).path, download.body))

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: str | None) -> bytes:
        headers = {
            "Authorization": f"Bearer {self._world.api_token}",
            "Content-Type": "application/json",
        }
        self._connection.request(method, path, body=body, headers=headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status < 300, content[:500]
        return content


def states(world: BenchWorld, job: str) -> Iterator[str]:
    """Yield the states of *job* as the control plane tells them, until it has ended."""
    connection = http.client.HTTPConnection(urlsplit(world.url).netloc, timeout=120)
    with closing(connection):
        headers = {"Authorization": f"Bearer {world.api_token}"}
        connection.request("GET", f"/api/v1/jobs/{job}/events", headers=headers)
        answer = connection.getresponse()
        kind = b""
        while line := answer.readline():
            if line.startswith(b"event:"):
                kind = line[6:].strip()
            elif line.startswith(b"data:") and kind in (b"state", b"result"):
                yield json.loads(line[5:])["state"]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that *percent* of all do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return the percentiles in milliseconds, and of how many."""
    return {
        "p50 ms": round(percentile(seconds, 50) * 1e3, 2),
        "p99 ms": round(percentile(seconds, 99) * 1e3, 2),
        "max ms": round(max(seconds) * 1e3, 2),
        "samples": len(seconds),
    }
