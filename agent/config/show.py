"""Shows the effective configuration, where each value came from, and its schema; never a secret.

Reading a configuration is not done here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.config.keys import schema
from agent.config.load import Loaded
from agent.config.origins import Key, dotted
from agent.config.parts import Part
from agent.secret_reference import SecretReference

HIDDEN = "***"

_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
_SECRET_NAME = re.compile(r"secret|token|passw|pwd|credential|api_?key|private", re.IGNORECASE)


def as_yaml(loaded: Loaded) -> str:
    """Return the effective configuration as YAML, with each value's origin in a comment.

    It is itself a valid configuration, where nothing had to be hidden.
    """
    return "\n".join(_mapping(_plain(loaded.settings, ()), (), loaded)) + "\n"


def as_json(loaded: Loaded) -> str:
    """Return ``{"settings": ..., "origins": {key: origin}}``; the others have their default."""
    origins = {dotted(key): str(origin) for key, origin in loaded.origins.items() if key}
    shown = {"settings": _plain(loaded.settings, ()), "origins": dict(sorted(origins.items()))}
    return json.dumps(shown, indent=2, ensure_ascii=False) + "\n"


def schema_as_json() -> str:
    """Return the JSON Schema of a configuration file, for editors."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def without_userinfo(text: str) -> str:
    """Return *text* with the user and password of every URL in it replaced by ``***``."""
    return _USERINFO.sub(f"{HIDDEN}@", text)


def _plain(value: object, key: Key) -> Any:
    match value:
        case SecretReference() | Path():
            return str(value)
        case Part():
            return {name: _plain(child, (*key, name)) for name, child in value}
        case dict():
            return {name: _plain(child, (*key, name)) for name, child in value.items()}
        case list():
            return [_plain(child, (*key, at)) for at, child in enumerate(value)]
        case str():
            return HIDDEN if _is_secret(key) else without_userinfo(value)
    return value


def _is_secret(key: Key) -> bool:
    """A pipeline's environment may hold plain text; a name like TOKEN makes it a secret."""
    return key[:1] == ("pipelines",) and key[2:3] == ("environment",) and _is_named_secret(key[-1])


def _is_named_secret(name: str | int) -> bool:
    return _SECRET_NAME.search(str(name)) is not None


def _mapping(values: Mapping[str, Any], key: Key, loaded: Loaded) -> Iterator[str]:
    for name, value in values.items():
        yield from _entry(f"{_name(name)}:", value, (*key, name), loaded)


def _list(values: list[Any], key: Key, loaded: Loaded) -> Iterator[str]:
    for at, value in enumerate(values):
        yield from _entry("-", value, (*key, at), loaded)


def _entry(head: str, value: object, key: Key, loaded: Loaded) -> Iterator[str]:
    match value:
        case dict() if value:
            yield head
            yield from _indented(_mapping(value, key, loaded))
        case list() if value:
            yield head
            yield from _indented(_list(value, key, loaded))
        case _:
            # JSON is YAML, and says without doubt what is text and what is not.
            text = json.dumps(value, ensure_ascii=False)
            yield f"{head} {text}  # {loaded.origins.of(key)}"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _name(name: str) -> str:
    return name if re.fullmatch(r"[a-z][a-z_]*", name) else json.dumps(name, ensure_ascii=False)
