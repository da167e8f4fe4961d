"""Turns a log event into one line of text without secrets; where it goes is not decided here.

Everything that can carry foreign text (values, keys, exception texts, tracebacks) passes *redact*
as plain text, before any escaping could hide a secret from it.
"""

import json
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

from pydantic import ValidationError

Redact = Callable[[str], str]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

LONGEST_TEXT = 16 * 1024
_DEEPEST = 6
_MOST_ITEMS = 200
_MOST_EXCEPTIONS = 10
_MOST_FRAMES = 50


def json_line(event: Mapping[str, Any]) -> str:
    """Return *event* as a JSON object in ASCII: control characters are all escaped."""
    return json.dumps(event, separators=(",", ":"))


def console_line(event: Mapping[str, Any]) -> str:
    """Return *event* for a terminal; nothing in it can move the cursor or forge a line."""
    rest = dict(event)
    head = [rest.pop("timestamp", ""), f"{rest.pop('level', ''):7}", _shown(rest.pop("event", ""))]
    trace = rest.pop("exception", "")
    line = " ".join([*head, *(f"{_shown(key)}={_shown(value)}" for key, value in rest.items())])
    return "\n".join([line, *(f"    | {_escaped(part)}" for part in trace.splitlines())])


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value.isprintable() and value and not any(c in ' ="' for c in value)
    return value if plain else json.dumps(value)


def _escaped(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]


def redacted(value: object, redact: Redact, depth: int = 0) -> Any:
    """Return *value* as JSON types, every text in it redacted and cut at `LONGEST_TEXT`."""
    match value:
        case None | bool():
            return value
        case int() | float() if math.isfinite(value):
            text = redact(str(value))
            return value if text == str(value) else text
        case Mapping() if depth < _DEEPEST:
            items = list(value.items())[:_MOST_ITEMS]
            return {_text(k, redact): redacted(v, redact, depth + 1) for k, v in items}
        case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
            return [redacted(item, redact, depth + 1) for item in list(value)[:_MOST_ITEMS]]
    return _text(value, redact)


def texts_of(value: object) -> Iterator[str]:
    """Yield every text in *value*, which `redacted` has made, numbers as text too."""
    match value:
        case str():
            yield value
        case dict():
            yield from value
            for item in value.values():
                yield from texts_of(item)
        case list():
            for item in value:
                yield from texts_of(item)
        case _:
            yield str(value)


def _text(value: object, redact: Redact) -> str:
    text = redact(_plain(value))
    return (
        text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}... ({len(text)} characters)"
    )


def _plain(value: object) -> str:
    match value:
        case str():
            return value
        case bytes() | bytearray() | memoryview():
            return bytes(value).decode("utf-8", "backslashreplace")
        case BaseException():
            return f"{type(value).__name__}: {exception_text(value)}"
    return str(value)


def exception_text(exc: BaseException) -> str:
    """Return what *exc* says; of a `ValidationError`, what is wrong where, without the input."""
    if not isinstance(exc, ValidationError):
        return str(exc)
    errors = exc.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, error['loc'])) or exc.title}: {error['msg']}"
        for error in errors[:_MOST_ITEMS]
    )


def exception_report(exc: BaseException) -> str:
    """Return the traceback of *exc* and of what led to it; never the values of variables."""
    chain: list[BaseException] = []
    current: BaseException | None = exc
    while current is not None and current not in chain and len(chain) < _MOST_EXCEPTIONS:
        chain.append(current)
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
    return "which led to:\n".join("".join(_one_report(link)) for link in reversed(chain))


def _one_report(exc: BaseException) -> Iterator[str]:
    yield from traceback.format_tb(exc.__traceback__, limit=-_MOST_FRAMES)
    yield f"{type(exc).__module__}.{type(exc).__qualname__}: {exception_text(exc)}\n"
    if isinstance(exc, BaseExceptionGroup):
        for member in exc.exceptions[:_MOST_EXCEPTIONS]:
            yield "".join(f"  {line}\n" for line in exception_report(member).splitlines())
