"""More than the agent can take at once: rows 21, 26 and 27 of the threat model."""

import asyncio
import hashlib
import os
import re
import socket
from collections import Counter

import aiohttp
import pytest

from demo.world import AGENT
from tests.threats.fortress import Fortress
from tests.waiting import until, wait_until

MIB = 1024 * 1024
FLOOD = int(os.environ.get("FLOOD_JOBS", "3000"))
CLIENTS = 32
OPEN = ("queued", "requested", "running")
BAD_ENDS = ("failed", "refused", "cancelled", "timed_out", "outcome_unknown")
BIG = 192 * MIB


@pytest.mark.parametrize("bomb", ["malformed", "oversized", "nested", "gap", "binary"])
def test_a_bomb_costs_the_link_and_nothing_else(fortress, bomb):
    """The agent drops the connection, comes back, keeps its memory and does the job."""
    uri = fortress.put("after-the-bomb", b"whole")
    fortress.submit("fetch-artifact", uri=uri)
    before, connects = fortress.agent_memory(), fortress.agent_connects()

    for _ in range(3):
        fortress.rest("/faults", {"agent": AGENT, "fault": "garbage", "garbage": bomb})
        assert "succeeded" == fortress.submit("fetch-artifact", uri=uri)["state"]

    wait_until(lambda: fortress.agent_connects() >= connects + 3, message="three new connections")
    assert fortress.agent_memory() - before < 8 * MIB
    assert b"Traceback" not in fortress.log_bytes()


@pytest.mark.timeout(240)
async def test_a_flood_of_jobs_loses_none(fortress: Fortress):
    """Each job ends once; what the agent can't take yet waits in the cloud, not in its memory."""
    (fortress.files / "tiny").write_bytes(b"tiny")
    parameters = {"uri": f"{fortress.files.as_uri()}/tiny"}
    job = {"agent": AGENT, "kind": "fetch-artifact", "parameters": parameters}
    fortress.submit("fetch-artifact", **parameters)
    before = fortress.agent_memory()
    started = asyncio.get_running_loop().time()

    submitted = await submit_all(fortress, [job] * FLOOD)

    flooded = asyncio.get_running_loop().time() - started
    await until(lambda: not any(asked(fortress, state) for state in OPEN), timeout=200)
    took = asyncio.get_running_loop().time() - started
    growth = fortress.agent_memory() - before
    print(f"{FLOOD} jobs came in {flooded:.1f} s, ended in {took:.1f} s, +{growth / MIB:.1f} MiB")
    await until(lambda: set(submitted) <= set(endings(fortress)), message="the audit log")
    ended = endings(fortress)
    assert {1} == {ended[job] for job in submitted}
    assert not set(submitted) & {job for state in BAD_ENDS for job in asked(fortress, state)}
    assert growth < 32 * MIB


async def submit_all(fortress: Fortress, jobs: list[dict]) -> list[str]:
    waiting = iter(jobs)
    submitted: list[str] = []
    headers = {"Authorization": f"Bearer {fortress.api_token}"}
    url = f"{fortress.url}/api/v1/jobs"
    async with aiohttp.ClientSession(headers=headers) as session:

        async def client() -> None:
            for job in waiting:
                async with session.post(url, json=job) as answer:
                    submitted.append((await answer.json())["id"])

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return submitted


def asked(fortress: Fortress, state: str) -> list[str]:
    return [job["id"] for job in fortress.rest(f"/jobs?state={state}&limit=1000")["jobs"]]


def endings(fortress: Fortress) -> Counter[str]:
    lines = fortress.audited("job.ended")
    return Counter(line["job"] for line in lines if line["outcome"] == "succeeded")


def read_from_s3(fortress: Fortress) -> int:
    found = re.search(r'artifact_bytes_total{store_type="s3"} (\S+)', fortress.agent_metrics())
    return int(float(found[1])) if found else 0


class SlowReader:
    """A client of the control plane that has asked for content and reads when told to."""

    def __init__(self, fortress: Fortress, job: str) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._socket.settimeout(30)
        self._socket.connect(("127.0.0.1", fortress.port))
        self._socket.sendall(
            f"GET /api/v1/jobs/{job}/content HTTP/1.0\r\nHost: cloud\r\n"
            f"Authorization: Bearer {fortress.api_token}\r\n\r\n".encode()
        )

    def __enter__(self) -> "SlowReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def digest(self) -> str:
        """Read all there is; return its SHA-256."""
        digest = hashlib.sha256()
        with self._socket.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"200"
            while answer.readline() != b"\r\n":
                pass
            while block := answer.read(MIB):
                digest.update(block)
        return digest.hexdigest()


def test_a_reader_that_stops_stops_the_reading_of_the_bucket(fortress: Fortress):
    """Nothing else waits for that reader, and what it did not take is not piled up anywhere."""
    noise = os.urandom(MIB)
    big, small = fortress.put("big", noise * (BIG // MIB)), fortress.put("small", b"small")
    fortress.submit("fetch-artifact", uri=small)
    memory, already = fortress.agent_memory(), read_from_s3(fortress)
    job = fortress.rest("/jobs", {"agent": AGENT, "kind": "fetch-artifact", "content": "relay",
                                  "parameters": {"uri": big}})["id"]  # fmt: skip

    with SlowReader(fortress, job) as reader:
        wait_until(lambda: standstill(fortress), timeout=30, message="the reading to stop")
        for _ in range(3):
            assert "succeeded" == fortress.submit("fetch-artifact", uri=small)["state"]

        assert "running" == fortress.rest(f"/jobs/{job}")["state"]
        assert read_from_s3(fortress) - already < BIG // 2
        assert fortress.agent_memory() - memory < 48 * MIB
        assert hashlib.sha256(noise * (BIG // MIB)).hexdigest() == reader.digest()
    assert "succeeded" == fortress.ended(job)["state"]


def standstill(fortress: Fortress) -> bool:
    """Whether the agent has read something of the object, and nothing more for a while."""
    before = read_from_s3(fortress)
    samples = {read_from_s3(fortress) for _ in range(100)}
    return before > MIB and {before} == samples
