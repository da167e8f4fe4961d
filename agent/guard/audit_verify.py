"""Checks a whole audit log, line by line; writes nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agent.errors import UsageError
from agent.guard.audit_chain import GENESIS, LONGEST_LINE, RESUMED, Line, is_torn, parsed, vouching


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """*problem* is None when every line fits; *head* is then the hash to note elsewhere.

    *torn* counts the places where a crash tore a line and the next one vouches for what is left.
    With *torn_tail* the file ends within a line: the agent is writing it, or died doing so.
    """

    lines: int
    head: str
    torn: int = 0
    torn_tail: bool = False
    problem: str | None = None


def verify(path: Path, *, starts_after: str = GENESIS) -> VerifyReport:
    """Check every line of the file at *path*; a running agent may go on writing it.

    Raises:
        UsageError: The file can't be read.
    """
    try:
        with path.open("rb") as file:
            return _Verification(starts_after).run(file)
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}") from exc


class _Verification:
    def __init__(self, starts_after: str) -> None:
        self._head = starts_after
        self._seq: int | None = None
        self._lines = 0
        self._torn = 0
        self._left: list[bytes] = []

    def run(self, file: BinaryIO) -> VerifyReport:
        """Read to the end or to the first line that does not fit."""
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            if problem := self._take(line.removesuffix(b"\n")):
                return self._report(f"line {number} {problem}")
        return self._report(None)

    def _report(self, problem: str | None) -> VerifyReport:
        tail = bool(self._left) and problem is None
        return VerifyReport(self._lines, self._head, self._torn, tail, problem)

    def _take(self, text: bytes) -> str | None:
        line = parsed(text)
        if line is None:
            self._left.append(text)
            return None if is_torn(text) else "is not as it was written"
        if self._left and not self._is_vouched_for_by(line):
            return "does not vouch for the torn line before it"
        if line.prev != self._head or self._seq not in (None, line.seq - 1):
            return "does not follow the line before it"
        self._head, self._seq = line.hash, line.seq
        self._lines += 1
        return None

    def _is_vouched_for_by(self, line: Line) -> bool:
        facts = vouching(b"\n".join(self._left))
        self._left = []
        self._torn += 1
        return line.event == RESUMED and all(line.facts.get(name) == facts[name] for name in facts)
