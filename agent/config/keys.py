"""Which keys may stand where, read off the JSON Schema of the settings.

Nothing is validated here.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from agent.config.origins import Key
from agent.config.settings import Settings

Schema = Mapping[str, Any]


@cache
def schema() -> Schema:
    """Return the JSON Schema of a configuration file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(),
        "title": "Configuration of cloud-agent",
    }


def allowed_at(key: Key, tree: object) -> list[str]:
    """Return the names of the keys that may stand at *key* of *tree*; none where any may."""
    here, schemas = tree, list(_variants(schema(), tree))
    for part in key:
        here = _below(here, part)
        schemas = [
            variant
            for outer in schemas
            for inner in _inner(outer, part)
            for variant in _variants(inner, here)
        ]
    return sorted({name for one in schemas for name in one.get("properties", {})})


def _below(here: object, part: str | int) -> object:
    match here, part:
        case dict(), str():
            return here.get(part)
        case list(), int() if part < len(here):
            return here[part]
    return None


def _inner(outer: Schema, part: str | int) -> Iterator[Schema]:
    if isinstance(part, int):
        candidates = [outer.get("items")]
    elif part in outer.get("properties", {}):
        candidates = [outer["properties"][part]]
    else:
        candidates = [
            outer.get("additionalProperties"),
            *outer.get("patternProperties", {}).values(),
        ]
    yield from (candidate for candidate in candidates if isinstance(candidate, Mapping))


def _variants(one: Schema, value: object) -> Iterator[Schema]:
    """Yield the plain schemas *one* stands for; of a tagged union only the one *value* chose."""
    if "$ref" in one:
        yield from _variants(schema()["$defs"][one["$ref"].rpartition("/")[2]], value)
        return
    choices = one.get("oneOf") or one.get("anyOf")
    if choices is None:
        yield one
        return
    tags = one.get("discriminator", {})
    chosen = _below(value, tags["propertyName"]) if tags else None
    target = tags.get("mapping", {}).get(chosen) if isinstance(chosen, str) else None
    for choice in [{"$ref": target}] if target else choices:
        yield from _variants(choice, value)
