"""Shows how a job goes: a bar on a terminal, plain lines without one. Asks nobody for anything."""

import sys
import time
from typing import Protocol, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

PLAIN_INTERVAL = 2.0
"""Seconds between two plain lines about progress."""

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROL[ord("\n")] = "\n"
_CONTROL[ord("\t")] = "\t"


def printable(text: str) -> str:
    """Return *text* with every control character made visible, so that none reaches a terminal."""
    return text.replace("\r\n", "\n").translate(_CONTROL)


class Display(Protocol):
    """What a person sees of one job."""

    def note(self, text: str) -> None:
        """Say one thing about the job, as that it began."""

    def progress(self, done: int, of: int | None, *, unit: str) -> None:
        """Say how far it is; *unit* is ``bytes`` or ``steps``."""

    def log(self, text: str) -> None:
        """Show a piece of the job's own log; it may begin and end within a line."""

    def close(self) -> None:
        """Show what is left over, and leave the terminal as it was."""


def open_display(*, log_to: TextIO, quiet: bool = False) -> Display:
    """Choose the display that fits stderr; the job's log goes to *log_to*.

    *quiet* leaves out everything but the log.
    """
    if quiet or not sys.stderr.isatty():
        return PlainDisplay(sys.stderr, log_to, quiet=quiet)
    return BarDisplay(log_to)


class PlainDisplay:
    """Lines for files, pipes and CI; at most one about progress in `PLAIN_INTERVAL`."""

    def __init__(self, notes_to: TextIO, log_to: TextIO, *, quiet: bool = False) -> None:
        self._notes_to = notes_to
        self._log_to = log_to
        self._quiet = quiet
        self._next_line = time.monotonic() + PLAIN_INTERVAL
        self._within_line = False

    def note(self, text: str) -> None:
        if not self._quiet:
            print_line(printable(text), self._notes_to)

    def progress(self, done: int, of: int | None, *, unit: str) -> None:
        if time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + PLAIN_INTERVAL
        share = f" ({100 * done // of} %)" if of else ""
        self.note(f"{done} of {of if of is not None else '?'} {unit}{share}")

    def log(self, text: str) -> None:
        self._log_to.write(printable(text) if self._log_to.isatty() else text)
        self._log_to.flush()
        self._within_line = not text.endswith("\n")

    def close(self) -> None:
        if self._within_line:
            self._log_to.write("\n")


class BarDisplay:
    """A bar at the bottom of the terminal, with notes and whole lines of the log above it."""

    def __init__(self, log_to: TextIO) -> None:
        self._log_to = log_to
        self._rest = ""
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            BarColumn(),
            _Amount(),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._bar.start()

    def note(self, text: str) -> None:
        self._console.print(Text(printable(text), style="dim"))

    def progress(self, done: int, of: int | None, *, unit: str) -> None:
        self._bar.update(self._task, completed=done, total=of, visible=True, description=unit)

    def log(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log_line(line)

    def close(self) -> None:
        if self._rest:
            self._log_line(self._rest)
        self._bar.stop()

    def _log_line(self, line: str) -> None:
        if self._log_to.isatty():
            self._console.print(Text(printable(line)))
        else:
            print_line(line, self._log_to)


class _Amount(ProgressColumn):
    """How much of how much, and how fast, in the task's unit."""

    def render(self, task: Task) -> Text:
        if task.description != "bytes":
            return Text(f"{task.completed:.0f} of {task.total or '?'} {task.description}")
        total = decimal(int(task.total)) if task.total is not None else "?"
        return Text(f"{decimal(int(task.completed))} of {total}, {decimal(int(task.speed or 0))}/s")


def print_line(text: str, to: TextIO) -> None:
    """Write *text* as one line and push it out."""
    to.write(f"{text}\n")
    to.flush()
