"""Ends the supervisors that a test left behind."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from agent.pipelines.run_directory import RunDirectory
from tests.waiting import wait_until


def end_supervisors(state_dir: Path) -> None:
    """Stop every run below *state_dir* and wait for that; grace periods are honoured."""
    for path in (state_dir / "runs").glob("[!.]*"):
        directory = RunDirectory(path)
        pid = directory.supervisor()
        if pid is not None and directory.locked():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        wait_until(
            lambda directory=directory: not directory.locked(), message=f"end of {path.name}"
        )
