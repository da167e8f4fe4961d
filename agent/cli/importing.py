"""Reading an export, writing its secrets, and showing connectors as YAML.

What an export means is not known here.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import UsageError

if TYPE_CHECKING:
    from agent.config.zenml_export import Imported

_LARGEST = 16 * 1024 * 1024


def read_export(name: str) -> object:
    """Return the JSON value in the file *name*, or on standard input for ``-``.

    Raises:
        UsageError: It can't be read or is no JSON; the text repeats nothing of it.
    """
    try:
        if name == "-":
            content = sys.stdin.buffer.read(_LARGEST + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise UsageError(f"{name}: is larger than {_LARGEST} bytes")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise UsageError(f"{name}: is not valid JSON") from None


def write_secrets(connectors: Sequence["Imported"], directory: Path) -> None:
    """Write the secrets of each connector to ``NAME.json`` in *directory*, for the owner alone.

    Raises:
        UsageError: A file exists, or can't be written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for connector in connectors:
            if connector.secrets:
                _write(directory / f"{connector.name}.json", connector)
    except FileExistsError as error:
        raise UsageError(f"{error.filename}: exists already; remove it first") from None
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from None


def _write(path: Path, connector: "Imported") -> None:
    values = {name: secret.reveal() for name, secret in connector.secrets.items()}
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "w") as file:
        json.dump(values, file)


def as_yaml(connectors: Sequence["Imported"], *, written: bool) -> str:
    """Return *connectors* as a part of a configuration file, with what is left to do in comments.

    *written* says that the secrets were written to files.
    """
    lines = ["connectors:", *(line for one in connectors for line in _one(one, written=written))]
    return "\n".join(lines) + "\n"


def _one(connector: "Imported", *, written: bool) -> Iterator[str]:
    yield f"  {json.dumps(connector.name)}:"
    for key in connector.left_out:
        # As JSON: whoever writes to the server chooses this, and a new line would end the comment.
        yield f"    # ZenML's {json.dumps(key)} has no counterpart here and was left out"
    names = sorted({str(value) for value in connector.settings.values() if _is_reference(value)})
    for name in names:
        held = name.partition("#")[2] in connector.secrets
        if not (held and written):
            why = "is in the export" if held else "is not in the export"
            yield f"    # to be stored as {json.dumps(name)}; its value {why}"
    for key, value in connector.settings.items():
        # JSON is YAML, and says without doubt what is text and what is not.
        yield f"    {key}: {json.dumps(value, ensure_ascii=False)}"


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and value.startswith("secret://")
