"""One thing that is wrong with a configuration, and how it reads.

Finding problems is not done here.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.config.origins import Key, Origins, dotted
from agent.errors import UsageError


@dataclass(frozen=True, slots=True)
class Problem:
    """Says of one *key* what would be right. *message* never repeats a value, which may be a
    secret.

    *place* is where to look, for problems that stand somewhere before the key is known.
    """

    key: Key
    message: str
    place: str | None = None


def refusal(problems: Iterable[Problem], origins: Origins) -> UsageError:
    """Return the error that lists all *problems*, one line each, at most one for a key and
    message."""
    lines = sorted(dict.fromkeys(_lines(problems, origins)), key=_by_line_of_file)
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    return UsageError("\n".join([f"the configuration has {count}:", *lines]))


def _lines(problems: Iterable[Problem], origins: Origins) -> Iterator[str]:
    for problem in problems:
        place = problem.place or origins.place(problem.key)
        where = f"{place}: " if place else ""
        what = f"{dotted(problem.key)}: " if problem.key else ""
        yield f"  {where}{what}{problem.message}"


def _by_line_of_file(line: str) -> int:
    number = re.match(r"  \S.*?:(\d+): ", line)
    return int(number[1]) if number else 0
