"""Lays out jobs, agents and faults as text tables; asks nobody for anything."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from control_plane_stub.client.progress import printable

_JOBS = ("ID", "AGENT", "KIND", "STATE", "REASON", "BYTES", "AGE")
_AGENTS = ("AGENT", "INSTANCE", "STATE", "VERSION", "OPEN JOBS", "ROUND TRIP")


def jobs_table(jobs: Iterable[dict[str, Any]], *, now: datetime) -> str:
    """Return one row for each of *jobs*."""
    return _table(_JOBS, [_job_row(job, now) for job in jobs]) or "no jobs"


def agents_table(agents: Iterable[dict[str, Any]]) -> str:
    """Return one row for each instance of each of *agents*."""
    rows = [row for agent in agents for row in _agent_rows(agent)]
    return _table(_AGENTS, rows) or "no agents; enrol one with `join-token create`"


def faults_table(faults: Sequence[dict[str, Any]]) -> str:
    """Return one row for each of *faults*, with whatever the server says of it."""
    columns = list(dict.fromkeys(name for fault in faults for name in fault))
    rows = [[fault.get(name) for name in columns] for fault in faults]
    return _table([name.upper() for name in columns], rows) or "no faults are set"


def age(since: str | None, *, now: datetime) -> str:
    """Return how long ago *since* was, in its largest unit; ``-`` when that is not known."""
    if since is None:
        return "-"
    moment = datetime.fromisoformat(since)
    seconds = max(
        0, int((now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds())
    )
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _job_row(job: dict[str, Any], now: datetime) -> list[Any]:
    received = (job.get("progress") or {}).get("bytes")
    return [
        job["id"],
        job.get("agent"),
        job["kind"],
        job["state"],
        job.get("reason"),
        received or None,
        age(job.get("created_at"), now=now),
    ]


def _agent_rows(agent: dict[str, Any]) -> list[list[Any]]:
    if not agent.get("instances"):
        return [[agent["name"], None, "not connected", None, None, None]]
    return [_instance_row(agent["name"], instance) for instance in agent["instances"]]


def _instance_row(agent: str, instance: dict[str, Any]) -> list[Any]:
    round_trip = instance.get("round_trip_ms")
    return [
        agent,
        instance["id"],
        instance["state"],
        instance.get("version"),
        instance.get("open_jobs"),
        None if round_trip is None else f"{round_trip:.1f} ms",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return *head* and *rows* in columns as wide as their widest cell; nothing without rows."""
    if not rows:
        return ""
    cells = [list(head), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _cell(value: Any) -> str:
    return "-" if value is None else printable(str(value)).replace("\n", " ")
