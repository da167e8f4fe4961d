"""Runs `cloud-agent` as a user does: a process of its own, with nothing but its arguments."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PATH = "/usr/local/bin:/usr/bin:/bin"


def cloud_agent(
    *arguments: str | Path, environ: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run it to its end and return what it printed; at most 30 s."""
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)],
        env={"PATH": PATH, **(environ or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
