"""Values as stores hold them, turned into fields.

Reading them and choosing one is not done here.
"""

import json
from collections.abc import Mapping

from agent.secret import Secret

WHOLE = ""
"""The field under which a store without fields of its own offers the value as it stands."""


def text_fields(text: str) -> dict[str, Secret]:
    """Return *text* as the whole value, and the members of the JSON object that it may be."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    members = object_fields(parsed) if isinstance(parsed, dict) else {}
    return {**members, WHOLE: Secret(text)}


def object_fields(members: Mapping[str, object]) -> dict[str, Secret]:
    """Return strings as they are and everything else as compact JSON; null is no value."""
    return {name: _as_secret(value) for name, value in members.items() if value is not None}


def _as_secret(value: object) -> Secret:
    if isinstance(value, str):
        return Secret(value)
    return Secret(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
