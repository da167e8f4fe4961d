"""The logs of pods as a kubelet keeps them: lines with their times, thrown away from the front."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

_Line = tuple[datetime, bytes]


@dataclass
class _Log:
    lines: list[_Line] = field(default_factory=list)
    dropped: int = 0
    ended: bool = False

    def end(self) -> int:
        """Return how many lines there ever were."""
        return self.dropped + len(self.lines)


class PodLogs:
    """All of them. Safe for many threads; readers that follow wait for what is appended."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._logs: dict[str, _Log] = {}
        self._breaks = 0
        self.requests: list[dict[str, str]] = []

    def append(self, uid: str, line: bytes) -> None:
        with self._changed:
            self._logs.setdefault(uid, _Log()).lines.append((datetime.now(UTC), line))
            self._changed.notify_all()

    def end(self, uid: str) -> None:
        """Nothing more will come."""
        with self._changed:
            self._logs.setdefault(uid, _Log()).ended = True
            self._changed.notify_all()

    def break_off(self) -> None:
        """End all that is being read now, as when connections to the kubelet break."""
        with self._changed:
            self._breaks += 1
            self._changed.notify_all()

    def rotate(self) -> None:
        """Throw away all that has been written so far."""
        with self._changed:
            for log in self._logs.values():
                log.dropped += len(log.lines)
                log.lines.clear()

    def read(
        self, uid: str, *, since: datetime | None, follow: bool, timestamps: bool
    ) -> Iterator[bytes]:
        """Yield what there is, and with *follow* what comes, to the end or to the next break."""
        with self._changed:
            log, breaks = self._logs.setdefault(uid, _Log()), self._breaks
        at = 0
        while True:
            with self._changed:
                while follow and not log.ended and self._breaks == breaks and log.end() <= at:
                    self._changed.wait()
                fresh = log.lines[max(0, at - log.dropped) :]
                at = log.end()
                over = log.ended or not follow or self._breaks != breaks
            yield b"".join(_shown(one, since, timestamps) for one in fresh)
            if over:
                return


def _shown(line: _Line, since: datetime | None, timestamps: bool) -> bytes:
    time, text = line
    if since is not None and time < since:
        return b""
    stamp = f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond:06d}000Z " if timestamps else ""
    return stamp.encode() + text
