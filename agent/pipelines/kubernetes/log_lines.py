"""Takes a container's log apart into lines, and leaves out those that were read before.

A log is asked for again by time, of which the cluster knows whole seconds, and each line comes with
its own. So a place in a log is a second, and how many lines at or after it were read: what is asked
for again begins with just those. No I/O is done here.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

LONGEST_LINE = 256 * 1024
CUT = b" [line cut]"

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")


@dataclass(frozen=True, slots=True)
class Place:
    """How far a log was read: *count* of its lines are of *second* or later.

    *first* tells the first of them from others, *latest* is the latest time of all, in nanoseconds.
    """

    second: int | None = None
    count: int = 0
    first: str = ""
    latest: int = 0


class LogLines:
    """One reading of a log, from the beginning of the second of *place* on.

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
        time = _nanoseconds(stamp) if stamp else self.place.latest
        if self._is_known(line, time):
            return b""
        self.fresh += 1
        self.place = self._after(line, time)
        text = line[stamp.end() if stamp else 0 : LONGEST_LINE]
        return text + (CUT if len(line) > LONGEST_LINE else b"") + b"\n"

    def _is_known(self, line: bytes, time: int) -> bool:
        before = self._before
        if not self.torn and self._skipped < before.count:
            if self._skipped or _digest(line) == before.first:
                self._skipped += 1
                return True
            self.torn = True
        return self.torn and time <= before.latest

    def _after(self, line: bytes, time: int) -> Place:
        now = self.place
        latest = max(time, now.latest)
        second = latest // 10**9
        if now.second is not None and second == now.second:
            count = now.count + (time // 10**9 >= second)
            return Place(second, count, now.first, latest)
        return Place(second, 1, _digest(line), latest)


def _nanoseconds(stamp: "re.Match[bytes]") -> int:
    seconds, fraction, zone = stamp.groups()
    moment = datetime.fromisoformat((seconds + zone.replace(b"Z", b"+00:00")).decode())
    return int(moment.timestamp()) * 10**9 + int((fraction or b"0").ljust(9, b"0"))


def _digest(line: bytes) -> str:
    return hashlib.sha256(line[:LONGEST_LINE]).hexdigest()[:16]
