"""Takes a container's log apart into lines, and leaves out those that were read before.

A log is asked for again by time, of which the cluster knows whole seconds, and each line comes with
its own. So a place in a log is a second, and how many lines at or after it were read: what is asked
for again begins with just those. Lines of two streams are not always in the order of their times;
for that the second before the latest one is asked for too. No I/O is done here.
"""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime

LONGEST_LINE = 256 * 1024
CUT = b" [line cut]"

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")


@dataclass(frozen=True, slots=True)
class Tally:
    """The lines of one second on: how many, and what tells the first of them from others."""

    count: int = 0
    first: str = ""

    def with_line(self, line: bytes) -> "Tally":
        """Count one line more."""
        return Tally(self.count + 1, self.first or _digest(line))


@dataclass(frozen=True, slots=True)
class Place:
    """How far a log was read: up to a line of the time *latest*, in nanoseconds.

    *before* tells of the lines from the second before that one on, *now* of those from its own on.
    """

    latest: int | None = None
    before: Tally = field(default_factory=Tally)
    now: Tally = field(default_factory=Tally)

    @property
    def since(self) -> int | None:
        """The second to ask from, None for the whole log."""
        return None if self.latest is None else self.latest // 10**9 - 1

    def after(self, line: bytes, time: int) -> "Place":
        """Return the place behind *line*."""
        second = time // 10**9
        latest = second if self.latest is None else self.latest // 10**9
        if second > latest + 1 or self.latest is None:
            return Place(time, Tally().with_line(line), Tally().with_line(line))
        if second == latest + 1:
            return Place(time, self.now.with_line(line), Tally().with_line(line))
        before = self.before.with_line(line) if second >= latest - 1 else self.before
        now = self.now.with_line(line) if second >= latest else self.now
        return Place(max(time, self.latest), before, now)


class LogLines:
    """One reading of a log, from the second on that *place* is to be asked from.

    When what should be there again is not, the cluster has thrown it away meanwhile, and perhaps
    what followed: *torn* then says so, and all that is later is taken.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.torn = False
        self.fresh = 0
        self._before = place
        self._skipped = 0
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        """Return the new lines that *piece* completes, without their times."""
        *lines, rest = (self._rest + piece).split(b"\n")
        taken = b"".join(self._taken(line) for line in lines)
        self._rest = rest[: LONGEST_LINE + 1]
        return taken

    def end(self) -> bytes:
        """Return the last line where it has no end; only of a log that is known to be whole."""
        rest, self._rest = self._rest, b""
        return self._taken(rest)[:-1] if rest else b""

    def _taken(self, line: bytes) -> bytes:
        stamp = _STAMP.match(line)
        time = _nanoseconds(stamp) if stamp else self.place.latest or 0
        if self._is_known(line, time):
            return b""
        self.fresh += 1
        self.place = self.place.after(line, time)
        text = line[stamp.end() if stamp else 0 : LONGEST_LINE]
        return text + (CUT if len(line) > LONGEST_LINE else b"") + b"\n"

    def _is_known(self, line: bytes, time: int) -> bool:
        before = self._before
        if not self.torn and self._skipped < before.before.count:
            if self._skipped or _digest(line) == before.before.first:
                self._skipped += 1
                return True
            self.torn = True
            self.place = Place(before.latest)
        if self.torn and time <= (before.latest or 0):
            # It was read, and will be there again the next time, which the others won't.
            self.place = self.place.after(line, time)
            return True
        return False


def _nanoseconds(stamp: "re.Match[bytes]") -> int:
    seconds, fraction, zone = stamp.groups()
    moment = datetime.fromisoformat((seconds + zone.replace(b"Z", b"+00:00")).decode())
    return int(moment.timestamp()) * 10**9 + int((fraction or b"0").ljust(9, b"0"))


def _digest(line: bytes) -> str:
    return hashlib.sha256(line[:LONGEST_LINE]).hexdigest()[:16]
