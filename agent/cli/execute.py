"""`cloud-agent exec`: one job, here and now, without a control plane."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from agent.cli.arguments import Verbs, add_config, add_settings, add_verb, load_config
from agent.cli.jobfile import add_job, read_job
from agent.errors import Exit, Outcome, UsageError

_TEXT = """
Runs one job here and now, through the same policy, stores and pipelines as the daemon, and without
a control plane. The job's data goes to standard output or to the file of -o, its outcome as one
line of JSON to standard error. A file of -o appears only when the job has succeeded.

Exits 0 when the job succeeded, 3 when it was refused, 130 when it was cancelled, else 1.

example:
  echo '{"kind": "fetch-artifact", "parameters": {"uri": "s3://ml-artifacts/prod/model.bin"}}' |
    cloud-agent exec -c agent.yaml -f - -o model.bin
"""

Ended = dict[str, Any]
"""``outcome``, ``reason``, ``message``, ``result`` and ``trailer``, among others."""

_EXITS = {
    Outcome.SUCCEEDED: Exit.DONE,
    Outcome.REFUSED: Exit.REFUSED,
    Outcome.CANCELLED: Exit.INTERRUPTED,
}


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "exec", execute, help="run a job without a control plane", text=_TEXT)
    add_config(parser)
    add_settings(parser)
    add_job(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where the data goes")


def execute(arguments: argparse.Namespace) -> int:
    """Run the job, write its data, and print its outcome."""
    job = read_job(arguments.job)
    settings = load_config(arguments).settings

    from agent import one_job
    from agent.cli.loop import run_in_loop

    def run(sink: BinaryIO) -> Ended:
        return run_in_loop(one_job.execute(settings, job, sink))

    ended = _with_output(arguments.output, run)
    sys.stderr.write(json.dumps(ended, ensure_ascii=False) + "\n")
    return _EXITS.get(Outcome(ended["outcome"]), Exit.FAILED)


def _with_output(path: Path | None, run: Callable[[BinaryIO], Ended]) -> Ended:
    if path is None:
        ended = run(sys.stdout.buffer)
        sys.stdout.flush()
        return ended
    try:
        return _into_file(path, run)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be written: {exc.strerror}") from None


def _into_file(path: Path, run: Callable[[BinaryIO], Ended]) -> Ended:
    """Let *path* appear only whole: half an artifact must not pass for one."""
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            return run(device)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            ended = run(file)
        if ended["outcome"] == Outcome.SUCCEEDED:
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return ended
