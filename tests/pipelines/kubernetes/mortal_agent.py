"""An agent for killing: starts the run of a test, but goes no further than a given point.

python -m tests.pipelines.kubernetes.mortal_agent STATE_DIR KUBECONFIG NAMESPACE POINT
"""

import asyncio
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from agent.pipelines.kubernetes import runner
from agent.pipelines.kubernetes.cluster import Cluster
from tests.pipelines.kubernetes.lab import open_runner, shell
from tests.pipelines.lab import start, whole_log

SCRIPT = "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.1; done"

POINTS: dict[str, tuple[Any, str]] = {
    "nothing-made": (Cluster, "namespace"),
    "job-made": (Cluster, "create_job"),
    "job-taken": (runner, "_taken"),
    "followed": (runner.KubernetesRunner, "_attended"),
}


def stay_after(act: Callable[..., Any]) -> Callable[..., Any]:
    """Do *act*, say so, and never return."""

    @wraps(act)
    async def wrapper(*args: Any, **keywords: Any) -> None:
        await act(*args, **keywords)
        print("there", flush=True)
        await asyncio.Event().wait()

    return wrapper


async def run(state_dir: Path, kubeconfig: Path, namespace: str) -> None:
    """Start the run and show its log."""
    agent = open_runner(shell(SCRIPT), state_dir, kubeconfig, namespace)
    await start(agent)
    await whole_log(agent)


def main(state_dir: str, kubeconfig: str, namespace: str, point: str) -> None:
    """Start the run, at most up to *point*."""
    if point in POINTS:
        owner, name = POINTS[point]
        setattr(owner, name, stay_after(getattr(owner, name)))
    asyncio.run(run(Path(state_dir), Path(kubeconfig), namespace))


if __name__ == "__main__":
    main(*sys.argv[1:])
