"""What one check found, and how a list of them reads. No check is made here."""

import asyncio
import json
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from agent.errors import AgentError, JobError
from agent.secrets.one_use import KeptForLater

BOUND = 20.0
"""Seconds that one check may take."""


class Status(StrEnum):
    """How one check ended."""

    PASS = "PASS"  # noqa: S105  (a verdict, not a password)
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Row:
    """One check: *what* was looked at, what was *found*, and what to do where that is not fine."""

    status: Status
    what: str
    found: str
    advice: str = ""


async def bounded(what: str, check: Awaitable[Row], *, advice: str, seconds: float = BOUND) -> Row:
    """Wait for *check*, at most *seconds*; what it raises on purpose becomes its row."""
    try:
        async with asyncio.timeout(seconds):
            return await check
    except TimeoutError:
        return Row(Status.FAIL, what, f"no answer within {seconds:g} s", advice)
    except KeptForLater as exc:
        return Row(Status.SKIP, what, exc.detail or str(exc))
    except JobError as exc:
        return Row(Status.FAIL, what, exc.detail or str(exc), advice)
    except AgentError as exc:
        return Row(Status.FAIL, what, str(exc), advice)


def passed(rows: Iterable[Row]) -> bool:
    """Say whether no row failed."""
    return all(row.status is not Status.FAIL for row in rows)


def as_table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned plain text, each advice below what was found, and a last line."""
    width = max((len(row.what) for row in rows), default=0)
    lines = [line for row in rows for line in _lines(row, width)]
    counts = (f"{_count(rows, status)} {status}" for status in Status)
    return "\n".join([*lines, "", ", ".join(counts)]) + "\n"


def as_json(rows: Sequence[Row]) -> str:
    """Return ``{"passed": ..., "rows": [{"status", "what", "found", "advice"}]}``."""
    shown = {"passed": passed(rows), "rows": [asdict(row) for row in rows]}
    return json.dumps(shown, indent=2, ensure_ascii=False) + "\n"


def _lines(row: Row, width: int) -> list[str]:
    margin = " " * (width + 8)
    found = f"\n{margin}".join(row.found.splitlines())
    first = f"{row.status}  {row.what:<{width}}  {found}"
    needed = row.advice and row.status in (Status.WARN, Status.FAIL)
    return [first, f"{margin}-> {row.advice}"] if needed else [first]


def _count(rows: Sequence[Row], status: Status) -> int:
    return sum(row.status is status for row in rows)
