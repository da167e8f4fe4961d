"""Where every value of a configuration came from. No value stands here, only keys and places."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Key = tuple[str | int, ...]
"""Path from the root of the configuration: names of keys, and positions in lists counted from 0."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of one value; *place* is ``file:line``, or the name of a variable or flag."""

    source: Literal["default", "file", "environment", "flag"]
    place: str = ""

    def __str__(self) -> str:
        if self.source == "environment":
            return f"environment variable {self.place}"
        return f"flag {self.place}" if self.source == "flag" else self.place or self.source


DEFAULT = Origin("default")


class Origins:
    """Maps every key that somebody set to its origin; every other key has its default."""

    def __init__(self) -> None:
        self._known: dict[Key, Origin] = {}

    def record(self, key: Key, origin: Origin) -> None:
        """Remember the origin of the value at *key*; what is known of an older value stays."""
        self._known[key] = origin

    def forget(self, key: Key) -> None:
        """Drop *key* and all below it; their value is about to be replaced."""
        for known in [known for known in self._known if known[: len(key)] == key]:
            del self._known[known]

    def of(self, key: Key) -> Origin:
        """Return the origin of the value at *key*."""
        return self._known.get(key, DEFAULT)

    def place(self, key: Key) -> str:
        """Return where a person has to look to mend *key*: its own origin, or the nearest
        part's around it."""
        nearest = (self._known.get(key[:end]) for end in range(len(key), -1, -1))
        return next((str(origin) for origin in nearest if origin is not None), "")

    def items(self) -> Iterator[tuple[Key, Origin]]:
        """Yield all that somebody set, in no promised order."""
        return iter(self._known.items())


def dotted(key: Key) -> str:
    """Return *key* as people write it: ``artifact_stores.0.uri``."""
    return ".".join(str(part) for part in key)


def child_of(mapping: Mapping[str, object], segment: str) -> str:
    """Return the key of *mapping* that *segment* of a variable's name means; a new one is lower
    case.

    Case does not count, and an underscore also stands for the dash or dot that a variable can't
    have.
    """
    wanted = _folded(segment)
    return next((key for key in mapping if _folded(key) == wanted), segment.lower())


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_").replace(".", "_")
