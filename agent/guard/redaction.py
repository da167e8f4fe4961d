"""Takes known secrets out of text, whole or in pieces; who asks for it is not decided here.

Standard library only: the supervisor of a pipeline imports this before it has anything else.
"""

import json
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator

MASK = "***"
SHORTEST_VALUE = 4
"""Shorter values are not redacted: they would mangle every text and hide little."""
SHORTEST_LINE = 8
MOST_FORMS = 2048

_MASK = MASK.encode()

Span = tuple[int, int]


def forms(value: str) -> Iterable[str]:
    """Return every spelling of *value* that is looked for; a further encoding is added here."""
    for piece in (value, value.strip(), *_long_lines(value)):
        yield piece
        yield json.dumps(piece)[1:-1]
        yield json.dumps(piece, ensure_ascii=False)[1:-1]


def _long_lines(value: str) -> Iterator[str]:
    for line in value.splitlines():
        if len(stripped := line.strip()) >= SHORTEST_LINE:
            yield stripped


class _Needles:
    """An unchanging set of byte strings, and where they stand in a text.

    A search per needle runs at gigabytes per second and is nearly always in vain; one regular
    expression for all of them was many times slower.
    """

    def __init__(self, needles: Iterable[bytes]) -> None:
        self._sorted = sorted(needles)
        self._first_bytes = {needle[0] for needle in self._sorted}
        self.longest = max(map(len, self._sorted), default=0)

    def any_in(self, data: bytes) -> bool:
        """Say whether there is anything to replace; most texts hold nothing, and end here."""
        for needle in self._sorted:  # A loop: `any` with a generator takes twice as long.
            if needle in data:
                return True
        return False

    def spans(self, data: bytes) -> Iterator[Span]:
        """Yield where needles stand, in order, those that overlap as one span."""
        present = [needle for needle in self._sorted if needle in data]
        found = sorted(span for needle in present for span in _occurrences(needle, data))
        start = end = 0
        for first, last in found:
            if first >= end and end:
                yield start, end
            if first >= end:
                start = first
            end = max(end, last)
        if end:
            yield start, end

    def open_end(self, data: bytes) -> int:
        """Return where the part of *data* begins that may be the beginning of a needle."""
        for at in range(max(0, len(data) - self.longest + 1), len(data)):
            if data[at] in self._first_bytes and self._begins_one(data[at:]):
                return at
        return len(data)

    def _begins_one(self, tail: bytes) -> bool:
        # What begins with the tail sorts directly after it.
        at = bisect_left(self._sorted, tail)
        return at < len(self._sorted) and self._sorted[at].startswith(tail)


def _occurrences(needle: bytes, data: bytes) -> Iterator[Span]:
    at = data.find(needle)
    while at >= 0:
        yield at, at + len(needle)
        at = data.find(needle, at + 1)


class Redactor:
    """Replaces every registered value by ``***``. Safe to use from any thread.

    At most `MOST_FORMS` spellings are kept. Beyond that, those go whose value was registered
    longest ago: a value that is registered at each use stays, and what goes is the short-lived
    credential that ended long before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: dict[bytes, None] = {}
        self._needles: _Needles | None = _Needles(())

    def __repr__(self) -> str:
        return f"<Redactor forms={len(self._forms)}>"

    def register(self, value: str) -> None:
        """Look for *value* from now on, also in streams that are open. Idempotent.

        Of a value with several lines, each line of at least `SHORTEST_LINE` characters is looked
        for too. A value of fewer than `SHORTEST_VALUE` characters is ignored.
        """
        found = [form.encode("utf-8", "surrogatepass") for form in forms(value) if _long(form)]
        with self._lock:
            if any(form not in self._forms for form in found):
                self._needles = None
            for form in found:
                self._forms.pop(form, None)
                self._forms[form] = None
            self._forget_oldest()

    def redact(self, text: str) -> str:
        """Return *text* without the registered values; the same object when there are none."""
        if not self.needles().any_in(text.encode("utf-8", "surrogatepass")):
            return text
        stream = self.stream()
        return stream.feed(text) + stream.flush()

    def stream(self) -> "TextStream":
        """Return a stream for text that arrives in pieces, as `ByteStream` does for bytes."""
        return TextStream(self.byte_stream())

    def byte_stream(self) -> "ByteStream":
        """Return a stream for UTF-8 that arrives in pieces; other bytes pass unchanged."""
        return ByteStream(self)

    def needles(self) -> _Needles:
        """Return what is looked for now."""
        with self._lock:
            if self._needles is None:
                self._needles = _Needles(self._forms)
            return self._needles

    def _forget_oldest(self) -> None:
        while len(self._forms) > MOST_FORMS:
            del self._forms[next(iter(self._forms))]
            self._needles = None


def _long(form: str) -> bool:
    return len(form) >= SHORTEST_VALUE


class ByteStream:
    """Redacts bytes that arrive in pieces, with the same result as for the whole.

    Holds back only what may be the beginning of a value, less than the longest one. For one user at
    a time.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = b""
        # How many of the held bytes belong to a value whose mask has been given out.
        self._masked = 0

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be shown after *chunk* has arrived."""
        needles = self._redactor.needles()
        data = self._held + chunk
        return self._shown(needles, data, needles.open_end(data))

    def flush(self) -> bytes:
        """Return what was held back; nothing more will arrive."""
        return self._shown(self._redactor.needles(), self._held, len(self._held))

    def _shown(self, needles: _Needles, data: bytes, end: int) -> bytes:
        parts, shown = [], self._masked
        for first, last in needles.spans(data):
            if first >= end:
                break
            if first >= shown:
                parts += [data[shown:first], _MASK]
            shown = max(shown, last)
        parts.append(data[shown:end])
        self._held, self._masked = data[end:], max(0, shown - end)
        return b"".join(parts)


class TextStream:
    """`ByteStream` for text."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def feed(self, chunk: str) -> str:
        """Return what can be shown after *chunk* has arrived."""
        shown = self._stream.feed(chunk.encode("utf-8", "surrogatepass"))
        return shown.decode("utf-8", "surrogatepass")

    def flush(self) -> str:
        """Return what was held back; nothing more will arrive."""
        return self._stream.flush().decode("utf-8", "surrogatepass")
