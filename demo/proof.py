"""Looking for credentials where none may be: raw, and in the encodings they travel in."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote


def traces(credentials: Mapping[str, str], places: Iterable[Path]) -> list[str]:
    """Return a line for each credential found in a file, in any form; empty when none was found."""
    needles = [
        (name, how, needle) for name, value in credentials.items() for how, needle in forms(value)
    ]
    found = []
    for place in places:
        content = place.read_bytes()
        found += [f"{name} ({how}) in {place}" for name, how, n in needles if n in content]
    return found


def forms(value: str) -> Iterator[tuple[str, bytes]]:
    """Yield the ways in which *value* might stand in a log, a frame or a header."""
    raw = value.encode()
    yield "raw", raw
    yield "reversed", raw[::-1]
    yield "UTF-16", value.encode("utf-16-le")
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()
    yield "URL", quote(value, safe="").encode()
    yield "JSON", json.dumps(value)[1:-1].encode()
    for shift in range(3):
        yield f"base64 at {shift}", _base64_core(raw, shift, base64.b64encode)
        yield f"base64url at {shift}", _base64_core(raw, shift, base64.urlsafe_b64encode)


def prove_the_search_works(credentials: Mapping[str, str], scratch: Path) -> None:
    """Plant each credential in each form in *scratch*, and find it there.

    Raises:
        AssertionError: A planted credential was not found.
    """
    for name, value in credentials.items():
        for how, needle in forms(value):
            scratch.write_bytes(b"noise " + needle + b" noise")
            if not any(line.startswith(f"{name} ") for line in traces({name: value}, [scratch])):
                raise AssertionError(f"the search misses {name} as {how}")
    scratch.unlink(missing_ok=True)


def _base64_core(raw: bytes, shift: int, encode: Callable[[bytes], bytes]) -> bytes:
    """Return what stays the same of the encoding of *raw* behind *shift* other bytes."""
    padded = b"\0" * shift + raw
    whole = encode(padded)
    start = {0: 0, 1: 2, 2: 3}[shift]
    end = len(padded) // 3 * 4
    return whole[start:end]
