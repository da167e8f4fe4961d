"""Writes everything that crosses the agents' links to a file, for whoever wants to search it.

A record is time (f64, seconds since 1970), direction (one byte: ``i`` from the agent, ``o`` to it,
``h`` headers of a request, ``u`` a part of an upload), length (u32), and so many bytes, all
big-endian. What opens *our* own door is left out: the value of Authorization, and join tokens.
"""

import os
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_HEAD = struct.Struct("!dcI")
_DIRECTIONS = {"in": b"i", "out": b"o", "headers": b"h", "upload": b"u"}


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a recording."""

    time: float
    direction: str
    data: bytes


class Recorder:
    """Appends records; each is in the file when the call returns."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)

    def frame(self, direction: str, frame: str | bytes) -> None:
        data = frame.encode() if isinstance(frame, str) else frame
        self._write(direction, data)

    def handshake(self, request_line: str, headers: Mapping[str, str]) -> None:
        """Record the request of an upgrade without the value of its Authorization."""
        lines = [request_line, *(f"{name}: {_shown(name, headers[name])}" for name in headers)]
        self._write("headers", "\r\n".join(lines).encode())

    def close(self) -> None:
        os.close(self._descriptor)

    def _write(self, direction: str, data: bytes) -> None:
        head = _HEAD.pack(time.time(), _DIRECTIONS[direction], len(data))
        rest = memoryview(head + data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a recording; one that was cut short at the end is left out."""
    names = {code: name for name, code in _DIRECTIONS.items()}
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            at, direction, length = _HEAD.unpack(head)
            data = file.read(length)
            if len(data) < length:
                return
            yield Record(at, names[direction], data)


def _shown(name: str, value: str) -> str:
    return "(not recorded)" if name.lower() == "authorization" else value
