"""`control-plane-stub serve` as a process of its own, on a free port."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

STOP_TIMEOUT = 10.0


@dataclass(frozen=True)
class Served:
    """A running control plane."""

    url: str
    token: str
    token_file: Path


@asynccontextmanager
async def served(state_dir: Path, *more: str, listen: str = "127.0.0.1:0") -> AsyncIterator[Served]:
    """Start it, wait until it listens, and stop it at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control_plane_stub", "serve"),
        *("--listen", listen, "--state-dir", str(state_dir), *more),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        assert line, "the control plane ended before it listened"
        token_file = state_dir / "api-token"
        yield Served(line.split()[-1], token_file.read_text().strip(), token_file)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
