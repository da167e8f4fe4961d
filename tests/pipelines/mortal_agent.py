"""An agent for killing: starts the run of a test, but goes no further than a given point.

python -m tests.pipelines.mortal_agent STATE_DIR COUNTER POINT
"""

import asyncio
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from agent.pipelines import launch, process
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.run_directory import RunDirectory
from tests.pipelines.lab import Lab, shell, start

COUNT = 'echo started >> "$1"; echo working; while [ ! -e "$1.go" ]; do sleep 0.01; done'

POINTS: dict[str, tuple[Any, str]] = {
    "directory-without-name": (RunDirectory, "prepare"),
    "directory-named": (RunDirectories, "_make"),
    "lock-taken": (RunDirectories, "claim"),
    "supervisor-without-orders": (launch, "_spawn"),
    "pipeline-started": (launch, "_handed_over"),
    "status-known": (process.ProcessRunner, "_start"),
}


def stay_after(act: Callable[..., Any]) -> Callable[..., Any]:
    """Do *act*, say so, and never return."""

    @wraps(act)
    def wrapper(*args: Any, **keywords: Any) -> None:
        act(*args, **keywords)
        print("there", flush=True)
        while True:
            signal.pause()

    return wrapper


def main(state_dir: str, counter: str, point: str) -> None:
    """Start the run, at most up to *point*."""
    if point in POINTS:
        owner, name = POINTS[point]
        setattr(owner, name, stay_after(getattr(owner, name)))
    asyncio.run(start(Lab(Path(state_dir)).runner(shell(COUNT, counter))))
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
