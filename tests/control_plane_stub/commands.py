"""Runs `control-plane-stub` as a process, as a person's shell does."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ran:
    """What a process left behind."""

    code: int
    out: str
    err: str


async def start(
    *arguments: str | Path, server: str, token_file: Path
) -> asyncio.subprocess.Process:
    environment = os.environ | {
        "CONTROL_PLANE_STUB_URL": server,
        "CONTROL_PLANE_STUB_API_TOKEN_FILE": str(token_file),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "control_plane_stub", *map(str, arguments)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*arguments: str | Path, server: str, token_file: Path) -> Ran:
    process = await start(*arguments, server=server, token_file=token_file)
    out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())
