"""Audit lines: how one is chained to the one before, and checked. No files, no clock."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

Fact = str | int | float | bool | None

GENESIS = "0" * 64
RESUMED = "audit.resumed"
LONGEST_LINE = 256 * 1024
_RESERVED = frozenset({"at", "seq", "event", "prev", "hash"})
_START = b'{"at":"'
_HASH_START = b',"hash":"'
_TAIL_BYTES = len(_HASH_START) + 64 + len(b'"}')


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: the number and hash of its last line."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Line:
    """One line that fits its own hash."""

    seq: int
    event: str
    prev: str
    hash: str
    facts: Mapping[str, object]


def check_names(facts: Mapping[str, Fact]) -> None:
    """Raise ValueError when a fact has the name of a field of every line."""
    if taken := _RESERVED & facts.keys():
        raise ValueError(f"facts can't be named {', '.join(sorted(taken))}")


def chained(after: Link, at: str, event: str, facts: Mapping[str, Fact]) -> tuple[bytes, Link]:
    """Return the line that follows *after*, with its newline, and where the chain then stands.

    The hash is SHA-256 over the bytes of the line as it would be without its ``hash``.
    """
    fields = {"at": at, "seq": after.seq + 1, "event": event, **facts, "prev": after.hash}
    body = json.dumps(fields, separators=(",", ":")).encode()
    digest = hashlib.sha256(body).hexdigest()
    line = body[:-1] + _HASH_START + digest.encode() + b'"}\n'
    return line, Link(after.seq + 1, digest)


def parsed(line: bytes) -> Line | None:
    """Return *line*, given without its newline, or None when it does not fit its own hash."""
    body, tail = line[:-_TAIL_BYTES] + b"}", line[-_TAIL_BYTES:]
    digest = hashlib.sha256(body).hexdigest()
    if tail != _HASH_START + digest.encode() + b'"}':
        return None
    try:
        fields = json.loads(body)
        return Line(fields["seq"], fields["event"], fields["prev"], digest, fields)
    except (ValueError, KeyError, TypeError):
        return None


def is_torn(remains: bytes) -> bool:
    """Say whether *remains* can be the beginning of a line, and not the whole of one."""
    # Zeros are what some file systems leave for bytes that were lost with the power.
    remains = remains.rstrip(b"\0")
    begins_well = remains.startswith(_START) or _START.startswith(remains)
    return begins_well and (not remains.endswith(b'"}') or remains.endswith(b'\\"}'))


def vouching(remains: bytes) -> dict[str, Fact]:
    """Return the facts by which ``audit.resumed`` vouches for what crashes left before it."""
    return {"torn_bytes": len(remains), "torn_sha256": hashlib.sha256(remains).hexdigest()}
