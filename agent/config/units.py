"""Durations and sizes as people write them: ``30s``, ``5m``, ``64MiB``."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def seconds(value: object) -> object:
    """Return the seconds that *value* means; a number is taken as seconds."""
    return _parsed(value, _SECONDS, "a duration such as 30s, 5m or 2h")


def size(value: object) -> object:
    """Return the bytes that *value* means; a number is taken as bytes."""
    parsed = _parsed(value, _BYTES, "a size such as 64KiB, 5MiB or 2GB")
    return int(parsed) if isinstance(parsed, float) else parsed


def _parsed(value: object, units: dict[str, float] | dict[str, int], example: str) -> object:
    if not isinstance(value, str):
        return value
    match = _QUANTITY.fullmatch(value.strip())
    if match is None or (match[2] not in units and match[2] != ""):
        raise ValueError(f"should be {example}")
    return float(match[1]) * units.get(match[2], 1)


def _json_schema(unit: str, units: str, *, number: str) -> WithJsonSchema:
    """Let an editor accept both forms, which pydantic can't read off a validator."""
    written = {"type": "string", "pattern": rf"^\d+(\.\d+)?\s*({units})?$"}
    return WithJsonSchema(
        {"anyOf": [{"type": number, "exclusiveMinimum": 0, "description": f"in {unit}"}, written]}
    )


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    Field(gt=0, allow_inf_nan=False),
    _json_schema("seconds", "|".join(_SECONDS), number="number"),
]
Size = Annotated[
    int,
    BeforeValidator(size),
    Field(gt=0),
    _json_schema("bytes", "|".join(filter(None, _BYTES)), number="integer"),
]
