"""The customer's audit log: an append-only file of JSON lines, each holding the hash of the one
before.

The chain shows that lines were changed, removed or put in between. It has no key: whoever may write
the file can write a whole new chain, and cutting lines off the end leaves a good one. So compare
the head that `verify` reports with one that was noted elsewhere. Rotation is to begin the next file
with the head of this one as its first ``prev``, which is why `verify` takes that as a parameter.

A crash can tear the last line. The torn bytes stay as they are, and the next line,
``audit.resumed``, vouches for them by their hash; anything else that is not a whole, chained line
is a finding.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from agent.errors import JournalFailed
from agent.guard.audit_chain import (
    LONGEST_LINE,
    RESUMED,
    Fact,
    Link,
    chained,
    check_names,
    is_torn,
    parsed,
    vouching,
)
from agent.guard.audit_verify import VerifyReport, verify
from agent.owned_file import open_owned
from agent.write_behind import WriteBehind

__all__ = ["AuditLog", "VerifyReport", "verify"]

# Sixteen of these, at twelve bytes for an escaped character, stay within LONGEST_LINE.
_LONGEST_FACT = 1024
_END_BYTES = 4 * LONGEST_LINE

Entry = tuple[str, str, dict[str, Fact]]


class AuditLog:
    """Appends lines in the order in which they were recorded; any thread may record.

    A line is written within moments and survives a crash of the process from then on; only
    `record_durably` waits until it would survive a crash of the machine. Every text passes
    *redact*.
    """

    def __init__(self, path: Path, fd: int, *, after: Link, redact: Callable[[str], str]) -> None:
        self._path = path
        self._fd = fd
        self._after = after
        self._redact = redact
        self._writer = WriteBehind(self._write, name="the audit log")

    @classmethod
    def open(cls, path: Path, *, redact: Callable[[str], str]) -> Self:
        """Open or create the log and go on with its chain; reads no more than its end.

        Raises:
            UsageError: Another process writes it, or it can't be created.
            JournalFailed: Its last line is not one of an audit log, or was changed; nothing is
            repaired.
        """
        fd = open_owned(path, key="audit.file", in_use=f"another agent writes {path}")
        try:
            with _translated(path):
                after, remains = _end_of(path)
        except JournalFailed:
            os.close(fd)
            raise
        log = cls(path, fd, after=after, redact=redact)
        if remains is not None:
            log.record(RESUMED, **vouching(remains))
        return log

    @property
    def failed(self) -> JournalFailed | None:
        """Why nothing can be recorded any more, or None while all is well."""
        return self._writer.failed

    def record(self, event: str, **facts: Fact) -> None:
        """Append one line soon; never waits for the disk.

        Raises:
            JournalFailed: An earlier line could not be written, or the log is closed.
            ValueError: A fact is named like a field that every line has.
        """
        self._writer.put(self._entry(event, facts))

    async def record_durably(self, event: str, **facts: Fact) -> None:
        """Append one line and return when it, and all before it, are on the disk.

        Raises:
            JournalFailed: It may not be on the disk.
            ValueError: A fact is named like a field that every line has.
        """
        await self._writer.put_durably(self._entry(event, facts))

    def close(self) -> None:
        """Write what is queued and let go of the file. Waits up to 30 s; idempotent."""
        if self._writer.close() and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _entry(self, event: str, facts: dict[str, Fact]) -> Entry:
        check_names(facts)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        together = "\n".join(fact for fact in facts.values() if isinstance(fact, str))
        if len(together) <= _LONGEST_FACT and self._redact(together) == together:
            return at, event, facts
        return at, event, {name: self._safe(fact) for name, fact in facts.items()}

    def _safe(self, fact: Fact) -> Fact:
        return self._redact(fact)[:_LONGEST_FACT] if isinstance(fact, str) else fact

    def _write(self, entries: list[Entry], sync: bool) -> None:
        """Runs on the writer's thread, to which the chain belongs."""
        lines: list[bytes] = []
        for at, event, facts in entries:
            # The newline ends the torn line for good; the bytes themselves stay.
            lines += [b"\n"] if event == RESUMED else []
            line, self._after = chained(self._after, at, event, facts)
            lines.append(line)
        with _translated(self._path):
            _write_all(self._fd, b"".join(lines))
            if sync:
                os.fdatasync(self._fd)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _end_of(path: Path) -> tuple[Link, bytes | None]:
    """Return where the chain stands, and what a crash left after its last newline or line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END_BYTES))
        lines = file.read().split(b"\n")
    left: list[bytes] = []
    while lines and (last := parsed(lines[-1])) is None:
        left.insert(0, lines.pop())
    if (not lines and size > _END_BYTES) or not all(is_torn(piece) for piece in left):
        raise JournalFailed(
            f"{path}: its end is not as the audit log wrote it. Nothing was changed; keep the file "
            "as evidence and move it away, and a new one begins"
        )
    link = Link(last.seq, last.hash) if lines and last else Link()
    return link, None if left == [b""] else b"\n".join(left)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise JournalFailed(f"{path}: {exc.strerror}") from exc
