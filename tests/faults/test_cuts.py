"""A cut connection loses and repeats nothing, and costs no memory."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from demo.world import AGENT, World
from tests.faults.worlds import AgentLog, use_lane

MIB = 1024 * 1024
SIZE = int(os.environ.get("CUT_MIB", "1024")) * MIB
CUTS = 20
CEILING = 200 * MIB


def peak_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lane", ["upload", "blocks"])
def test_a_gibibyte_survives_twenty_cuts_bit_for_bit(world: World, tmp_path: Path, lane: str):
    """Every cut comes in the middle of the data; the agent's peak memory stays below 200 MiB.

    A cut of the lane with the data leaves the other one alone.
    """
    use_lane(world, lane)
    noise = os.urandom(4 * MIB)
    uri = world.put("big.bin", noise * (SIZE // len(noise)))
    world.cli("fault", "cut", "--agent", AGENT, "--after-bytes", str(SIZE // (CUTS + 10)),
              "--count", str(CUTS))  # fmt: skip
    log = AgentLog(world)

    world.cli("submit", "fetch-artifact", "--agent", AGENT, "-p", f"uri={uri}",
              "-o", str(tmp_path / "got"))  # fmt: skip

    broken = {"upload": len(log.events("upload.interrupted")), "blocks": world.agent_connects()}
    assert {"upload": 0, "blocks": 0, lane: CUTS} == broken
    assert not log.events("upload.given_up")
    digest = hashlib.sha256()
    for _ in range(SIZE // len(noise)):
        digest.update(noise)
    with (tmp_path / "got").open("rb") as got:
        assert digest.hexdigest() == hashlib.file_digest(got, "sha256").hexdigest()
    peak = peak_memory(world.agent.pid)
    print(f"agent's peak memory: {peak / MIB:.0f} MiB")
    assert peak < CEILING
