"""Lays single values, from variables and flags, over the values of a file.

What they mean is not known here.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import pairwise

from agent.config.document import MAX_DEPTH, Document, value_of
from agent.config.origins import Key, Origin, Origins, child_of, dotted
from agent.config.problems import Problem

PREFIX = "CLOUD_AGENT__"
_ALMOST = "CLOUD_AGENT_"

Tree = dict[str, object]


def lay_environment(document: Document, environ: Mapping[str, str], sections: list[str]) -> None:
    """Set what variables like ``CLOUD_AGENT__AGENT__NAME`` say; problems are added to *document*.

    A variable for a single key wins over one for the whole value around it.
    """
    document.problems.extend(_misspelt(environ, sections))
    ours = [name for name in environ if name.upper().startswith(PREFIX)]
    for name in sorted(ours, key=_from_the_outside_in):
        _lay_variable(document, name, environ[name])


def lay_flags(document: Document, flags: Mapping[str, object]) -> None:
    """Set what *flags* say: dotted keys, with values as they are.

    None means that a flag was not given.
    """
    for name, value in flags.items():
        if value is not None:
            key = tuple(name.split("."))
            _put(document, key, value, Origin("flag", f"for {name}"))


def _from_the_outside_in(name: str) -> tuple[int, list[tuple[int, str]]]:
    segments = name.split("__")
    # By length first, so that position 2 of a list comes before position 10.
    return len(segments), [(len(segment), segment) for segment in segments]


def _lay_variable(document: Document, name: str, text: str) -> None:
    segments = name[len(PREFIX) :].split("__")
    origin = Origin("environment", name)
    try:
        _put(document, tuple(segments), value_of(text), origin)
    except ValueError as exc:
        document.problems.append(Problem((), str(exc), str(origin)))


def _put(document: Document, segments: tuple[str, ...], value: object, origin: Origin) -> None:
    """Set the value that *segments* lead to through mappings and lists; missing ones are made.

    Raises:
        ValueError: A segment is empty, leads into a plain value, or to a position a list has not.
    """
    if "" in segments or len(segments) > MAX_DEPTH:
        raise ValueError("names no key; write it like CLOUD_AGENT__AGENT__NAME")
    here: object = document.tree
    key: Key = ()
    for segment, below in pairwise(segments):
        part = _part(here, segment, dotted(key))
        key = (*key, part)
        here = _entered(here, part, [] if below.isdigit() else {})
    key = (*key, _part(here, segments[-1], dotted(key)))
    _assign(here, key[-1], value)
    document.origins.forget(key)
    _record(document.origins, key, value, origin)


def _part(here: object, segment: str, at: str) -> str | int:
    match here:
        case dict():
            return child_of(here, segment)
        case list() if segment.isascii() and segment.isdigit() and int(segment) <= len(here):
            return int(segment)
        case list():
            raise ValueError(f"{at} is a list with positions from 0 to {len(here)}, not {segment}")
    raise ValueError(f"{at} is a plain value and has no key {segment.lower()}")


def _entered(here: object, part: str | int, empty: Tree | list[object]) -> object:
    """Return what stands at *part*; where that is nothing, or null, it becomes *empty*."""
    match here, part:
        case dict(), str():
            here[part] = empty if here.get(part) is None else here[part]
            return here[part]
        case list(), int():
            here.extend([empty] if part == len(here) else [])
            return here[part]
    raise AssertionError("`_part` lets only mappings and lists through")


def _assign(here: object, part: str | int, value: object) -> None:
    match here, part:
        case dict(), str():
            here[part] = value
        case list(), int():
            here[part : part + 1] = [value]


def _record(origins: Origins, key: Key, value: object, origin: Origin) -> None:
    origins.record(key, origin)
    match value:
        case dict():
            for name, child in value.items():
                _record(origins, (*key, name), child, origin)
        case list():
            for at, child in enumerate(value):
                _record(origins, (*key, at), child, origin)


def _misspelt(environ: Mapping[str, str], sections: list[str]) -> Iterator[Problem]:
    """Find variables that lack an underscore; Kubernetes makes none with ``__``."""
    for name in environ:
        almost = name.upper().startswith(_ALMOST) and not name.upper().startswith(PREFIX)
        section, separator, rest = name[len(_ALMOST) :].partition("__")
        nearest = get_close_matches(section.lower(), sections, n=1)
        if almost and separator and nearest:
            right = f"{PREFIX}{nearest[0].upper()}__{rest}"
            yield Problem((), f"is not read; did you mean {right}?", f"environment variable {name}")
