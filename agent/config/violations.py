"""Turns pydantic's errors into problems a person can act on. Values never reach the text."""

import re
from collections.abc import Iterable
from copy import deepcopy
from difflib import get_close_matches
from itertools import groupby

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.config.keys import allowed_at
from agent.config.origins import Key
from agent.config.problems import Problem
from agent.config.settings import Settings

_WORDING = {
    "missing": "is required",
    "model_type": "should be a mapping of keys, as in {key: value}",
    "model_attributes_type": "should be a mapping of keys, as in {key: value}",
    "dict_type": "should be a mapping of keys, as in {key: value}",
    "list_type": "should be a list, as in [a, b]",
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "path_type": "should be the path of a file or directory",
    "finite_number": "should be a finite number",
}
_TAGS = ("type", "method", "runner")


def violations_of(tree: dict[str, object]) -> list[Problem]:
    """Return what is wrong with each key of *tree*; the several ways a key may be right are joined.

    pydantic checks a part as a whole only when each of its keys is fine. An unknown key must not
    hide what such a check would say, so that the tree is looked at a second time without them.
    """
    details = _details(tree)
    unknown = [_found(detail["loc"], tree)[0] for detail in details if _is_unknown(detail)]
    rest = deepcopy(tree)
    for key in unknown:
        _remove(rest, key)
    found = [_problem(detail, tree) for detail in details + (_details(rest) if unknown else [])]
    found.sort(key=lambda problem: [str(part) for part in problem.key])
    return [
        Problem(key, _joined(problem.message for problem in same))
        for key, same in groupby(found, key=lambda problem: problem.key)
    ]


def _details(tree: dict[str, object]) -> list[ErrorDetails]:
    try:
        Settings.model_validate(tree)
    except ValidationError as exc:
        return exc.errors(include_input=False, include_url=False)
    return []


def _is_unknown(detail: ErrorDetails) -> bool:
    return detail["type"] == "extra_forbidden"


def _remove(tree: object, key: Key) -> None:
    for part in key[:-1]:
        tree = tree[part]  # type: ignore[index]  # the key was found in this very tree
    del tree[key[-1]]  # type: ignore[attr-defined]


def _joined(messages: Iterable[str]) -> str:
    first, *others = dict.fromkeys(messages)
    return " or ".join([first, *(other.removeprefix("should be ") for other in others)])


def _problem(detail: ErrorDetails, tree: object) -> Problem:
    key, value = _found(detail["loc"], tree)
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return Problem(key, _unknown(key, tree))
        case "union_tag_invalid" | "union_tag_not_found":
            tag = str(context["discriminator"]).strip("'")
            return Problem((*key, tag), f"should be {_tags(context)}")
        case "value_error":
            return _own(key, detail["msg"].removeprefix("Value error, "))
    if value is None and detail["type"] != "missing":
        return Problem(key, f"is empty; remove the key, or it {_worded(detail)}")
    return Problem(key, _worded(detail))


def _worded(detail: ErrorDetails) -> str:
    if detail.get("ctx", {}).get("class_name") == "SecretReference":
        return "should be a reference such as secret://vault/ml/s3#access_key_id"
    text = _WORDING.get(detail["type"], detail["msg"])
    return re.sub(r"^(Input|String|List|Value) should", "should", text).partition(", unable")[0]


def _own(key: Key, message: str) -> Problem:
    """A validator of a whole part names the key inside it first, as in ``url: use wss://``."""
    named = re.match(r"([a-z_]+): ", message)
    if named is None:
        return Problem(key, message)
    return Problem((*key, named[1]), message[named.end() :])


def _unknown(key: Key, tree: object) -> str:
    allowed = allowed_at(key[:-1], tree)
    nearest = get_close_matches(str(key[-1]), allowed, n=1)
    if nearest:
        return f"unknown key; did you mean {nearest[0]}?"
    return f"unknown key; known here: {', '.join(allowed)}"


def _tags(context: dict[str, object]) -> str:
    """Name what the tag of a union may be; pydantic lists it only when some tag is there."""
    expected = str(context.get("expected_tags", ""))
    return f"one of {expected}" if expected else "there; it chooses what the other keys mean"


def _found(location: tuple[str | int, ...], tree: object) -> tuple[Key, object]:
    """Follow pydantic's *location* through *tree*; it also names union members, which are no
    keys."""
    key: Key = ()
    here = tree
    for at, part in enumerate(location):
        match here, part:
            case dict(), str() if part in (here.get(tag) for tag in _TAGS):
                continue
            case dict(), str() if part in here:
                here = here[part]
            case list(), int() if part < len(here):
                here = here[part]
            case dict(), str() if at == len(location) - 1 and part != "[key]":
                return (*key, part), None
            case _:
                return key, here
        key = (*key, part)
    return key, here
