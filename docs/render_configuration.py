"""Renders docs/configuration.md from the settings' own descriptions. Settings are not read here.

python -m docs.render_configuration > docs/configuration.md
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from agent.config.keys import schema

Schema = Mapping[str, Any]

_INTRODUCTION = """\
# Configuration

Every setting of the agent. This page is made from the program: `python -m
docs.render_configuration > docs/configuration.md`, and a test compares the two.
[examples/agent.yaml](../examples/agent.yaml) shows the settings at work,
[stores.md](stores.md) says which store and login fits; `cloud-agent config schema` prints the same
as JSON Schema, for editors.

* A flag wins over the environment, that over the file, that over the default. `cloud-agent config
  show -c agent.yaml` says what is in effect, and where each value came from.
* In the environment, `CLOUD_AGENT__CONTROL_PLANE__URL` is `control_plane.url`: two underscores lead
  into a part, or to a position in a list. The value is read as YAML.
* A *duration* is a number of seconds, or like `500ms`, `30s`, `5m`, `2h`, `1d`. A *size* is a
  number of bytes, or like `64KiB`, `5MiB`, `2GB`.
* A *secret reference* is `secret://STORE/PATH?version=VERSION#FIELD`, where STORE is a name under
  `secret_stores`; version and field may be left out. A secret itself never stands in the
  configuration.
* An unknown key is an error. All errors are told at once, each with its line.
* `SIGHUP` or a changed file has the file read again. A wrong one is logged and changes nothing.
  `control_plane`, `agent.name`, `agent.state_dir`, `telemetry.listen` and `audit` take effect at
  the next start, everything else with the next job.
"""

_TAGS = ("type", "runner")
_KINDS = {"in seconds": "duration", "in bytes": "size"}
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}


def page() -> str:
    """Return the page as it should stand in docs/configuration.md."""
    lines = [_INTRODUCTION]
    for name, one in schema()["properties"].items():
        lines.extend(_section(name, one))
    return "\n".join(lines).rstrip() + "\n"


def _section(key: str, one: Schema) -> Iterator[str]:
    """Yield a heading and a table for each kind of part that may stand at *key*."""
    if names := one.get("patternProperties"):
        yield from _section(f"{key}.NAME", next(iter(names.values())))
    elif one.get("type") == "array":
        yield from _section(f"{key}[]", one["items"])
    elif "oneOf" in one:
        tag = one["discriminator"]["propertyName"]
        for value, reference in one["discriminator"]["mapping"].items():
            yield from _part(f"`{key}`, {tag} `{value}`", key, _resolved({"$ref": reference}))
    else:
        yield from _part(f"`{key}`", key, _resolved(one))


def _part(title: str, key: str, part: Schema) -> Iterator[str]:
    yield f"## {title}\n\n{_text(part['description'])}\n"
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    # What chooses the part comes first, also where it stands behind settings that are inherited.
    for name, one in sorted(part["properties"].items(), key=lambda item: item[0] not in _TAGS):
        yield _row(name, one, required=name in part.get("required", ()))
    yield ""
    for name, one in part["properties"].items():
        if _is_part(one):
            yield from _section(f"{key}.{name}", _alternatives(one)[0])


def _row(name: str, one: Schema, *, required: bool) -> str:
    default = "required" if required else _default(one)
    cells = (f"`{name}`", _value(one), default, _text(one.get("description", "")))
    return f"| {' | '.join(cells)} |"


def _value(one: Schema) -> str:
    """Return what may stand there, in a few words."""
    alternatives = _alternatives(one)
    if kind := _KINDS.get(alternatives[0].get("description", "")):
        return kind
    return " or ".join(dict.fromkeys(_kind(alternative) for alternative in alternatives))


def _kind(one: Schema) -> str:
    match one:
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"pattern": pattern} if pattern.startswith("^secret://"):
            return "secret reference"
        case {"type": "array", "items": items}:
            return "list of parts" if _is_part(items) else "list of text"
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"{least} to {most}"
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"format": "path"}:
            return "path"
        case {"type": "string"}:
            return "text"
    return "see below" if _is_part(one) else "mapping"


def _default(one: Schema) -> str:
    value = one.get("default")
    if (not value and value is not False) or isinstance(value, dict):
        return ""
    kind = _value(one)
    if kind in ("duration", "size"):
        return f"`{_quantity(value, _SECONDS if kind == 'duration' else _BYTES)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _quantity(value: float, units: Mapping[str, int]) -> str:
    """Return *value* in the largest unit that it is a whole number of."""
    for unit, size in units.items():
        if value % size == 0:
            return f"{value / size:.0f}{unit}"
    return f"{value * 1000:.0f}ms"


def _alternatives(one: Schema) -> list[Schema]:
    """Return the schemas that *one* chooses from, without null."""
    return [choice for choice in one.get("anyOf", [one]) if choice.get("type") != "null"]


def _is_part(one: Schema) -> bool:
    chosen = _alternatives(one)[0]
    inner = chosen.get("items", chosen)
    return "oneOf" in inner or "properties" in _resolved(inner)


def _resolved(one: Schema) -> Schema:
    reference = one.get("$ref", "").rpartition("/")[2]
    return schema()["$defs"][reference] if reference else one


def _text(description: str) -> str:
    """Return a description as one line of Markdown: patterns and URLs are code, not marks."""
    flat = " ".join(description.replace("``", "`").split())
    return re.sub(r"(?<!`)\S*(?:\*|://)\S*", _as_code, flat).replace("|", r"\|")


def _as_code(found: re.Match[str]) -> str:
    word = found[0].rstrip(".,;")
    emphasis = re.fullmatch(r"\*\w+\*", word)
    return found[0] if emphasis else f"`{word}`{found[0][len(word) :]}"


if __name__ == "__main__":
    sys.stdout.write(page())
