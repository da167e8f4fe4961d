"""Reads the one job that `exec` and `policy explain` take from a file. Kinds are not known here."""

import argparse
import json
import sys
from difflib import get_close_matches
from pathlib import Path

from agent.errors import UsageError

MAX_JOB_BYTES = 1024 * 1024
STDIN = Path("-")

_KEYS = ("kind", "parameters", "deadline_s")


def add_job(parser: argparse.ArgumentParser) -> None:
    """Add ``-f``."""
    parser.add_argument(
        "-f",
        "--job",
        type=Path,
        required=True,
        metavar="FILE",
        help='the job, as {"kind": "fetch-artifact", "parameters": {...}}; - reads standard input',
    )


def read_job(path: Path) -> dict[str, object]:
    """Return the job in *path*: its `kind`, its `parameters`, and `deadline_s` where given.

    Raises:
        UsageError: It can't be read, or is no job; the text repeats no value.
    """
    job = _parsed(_content(path), path)
    mistakes = [*_unknown_keys(job), *_wrong_values(job)]
    if mistakes:
        raise UsageError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return {"parameters": {}, **job}


def _content(path: Path) -> bytes:
    try:
        if path == STDIN:
            return sys.stdin.buffer.read(MAX_JOB_BYTES + 1)
        with path.open("rb") as file:
            return file.read(MAX_JOB_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read: {exc.strerror}") from None


def _parsed(content: bytes, path: Path) -> dict[str, object]:
    if len(content) > MAX_JOB_BYTES:
        raise UsageError(f"{path}: is larger than {MAX_JOB_BYTES} bytes")
    try:
        job = json.loads(content)
    except (ValueError, RecursionError) as exc:
        line = f":{exc.lineno}" if isinstance(exc, json.JSONDecodeError) else ""
        raise UsageError(f"{path}{line}: is not valid JSON") from None
    if not isinstance(job, dict):
        raise UsageError(f'{path}: should be an object, as in {{"kind": "list-artifacts"}}')
    return job


def _unknown_keys(job: dict[str, object]) -> list[str]:
    unknown = [key for key in job if key not in _KEYS]
    return [f"{key}: unknown key; did you mean {_nearest(key)}?" for key in unknown]


def _nearest(key: str) -> str:
    return next(iter(get_close_matches(key, _KEYS, n=1)), ", ".join(_KEYS))


def _wrong_values(job: dict[str, object]) -> list[str]:
    deadline = job.get("deadline_s", 1)
    is_number = isinstance(deadline, int | float) and not isinstance(deadline, bool)
    checks = {
        "kind: should be the kind of a job, such as fetch-artifact": isinstance(
            job.get("kind"), str
        ),
        "parameters: should be an object": isinstance(job.get("parameters", {}), dict),
        "deadline_s: should be a number of seconds above 0": is_number and deadline > 0,  # type: ignore[operator]
    }
    return [mistake for mistake, right in checks.items() if not right]
