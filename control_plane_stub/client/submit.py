"""Sees one submitted job through: its log, progress, content, outcome. Parses no command line."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from agent.errors import Exit, Outcome, Reason
from control_plane_stub.client.api import Client
from control_plane_stub.client.content_file import ContentFile, content_file
from control_plane_stub.client.events import Event
from control_plane_stub.client.follow import download, job_events
from control_plane_stub.client.progress import Display

_BY_POLICY = frozenset({Reason.POLICY_DENIED, Reason.SIGNATURE_REJECTED})


def exit_code(job: dict[str, Any]) -> Exit:
    """Return what the outcome of *job* means for the shell."""
    if job["state"] == Outcome.SUCCEEDED:
        return Exit.DONE
    refused = job["state"] == Outcome.REFUSED and job.get("reason") in _BY_POLICY
    return Exit.REFUSED if refused else Exit.FAILED


def outcome_of(job: dict[str, Any]) -> str:
    """Return the outcome of *job* in one line for a person."""
    said = ": ".join(text for text in (job.get("reason"), job.get("message")) if text)
    return f"job {job['id']} {job['state']}" + (f" ({said})" if said else "")


async def see_through(
    client: Client, job: str, *, display: Display, target: str | None
) -> dict[str, Any]:
    """Show *job* until it has ended, write its content to *target*, and return its record.

    There is a file only when the job succeeded. Waits as long as the job takes.

    Raises:
        Damaged: The content that arrived is not what was sent.
        Unreachable: The control plane stayed away for too long.
    """
    if target is None:
        await _show_events(client, job, _Shown(display))
        return await _record(client, job)
    with content_file(target) as file:
        shown = _Shown(display, file)
        await _both(_show_events(client, job, shown), download(client, job, shown))
        record = await _record(client, job)
        if record["state"] == Outcome.SUCCEEDED:
            file.require_whole(record["trailer"])
        return record


async def _both(*parts: Coroutine[Any, Any, None]) -> None:
    """Wait for all *parts*; the first to fail ends the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(part)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


class _Shown:
    """Turns events, and content that passes through, into what the display shows."""

    def __init__(self, display: Display, file: ContentFile | None = None) -> None:
        self._display = display
        self._file = file
        self._size: int | None = None
        self._log_end = 0
        self._state: str | None = None

    @property
    def received(self) -> int:
        return self._file.received if self._file else 0

    async def write(self, block: bytes) -> None:
        if self._file:
            await self._file.write(block)
            self._display.progress(self.received, self._size, unit="bytes")

    def see(self, event: Event) -> None:
        match event.kind:
            case "state":
                self._note_state(event.data["state"])
            case "log":
                self._log(event.data)
            case "progress":
                self._progress(event.data)

    def _note_state(self, state: str) -> None:
        if state != self._state:
            self._display.note(f"state: {state}")
        self._state = state

    def _log(self, piece: dict[str, Any]) -> None:
        # After a reconnect the server may begin with a piece that was shown already.
        if piece["end"] > self._log_end:
            self._display.log(piece["text"])
            self._log_end = piece["end"]

    def _progress(self, progress: dict[str, Any]) -> None:
        self._size = progress.get("size")
        if progress.get("done") is not None:
            self._display.progress(progress["done"], progress.get("of"), unit="steps")
        elif self._file is None and progress.get("bytes"):
            self._display.progress(progress["bytes"], self._size, unit="bytes")


async def _show_events(client: Client, job: str, shown: _Shown) -> None:
    async for event in job_events(client, job):
        shown.see(event)


async def _record(client: Client, job: str) -> dict[str, Any]:
    record: dict[str, Any] = await client.get(f"/jobs/{job}")
    return record
