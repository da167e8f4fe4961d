"""What a value on the command line may look like; each raises what argparse shows to the person."""

import json
import re
from argparse import ArgumentTypeError
from typing import Any, Never

_BYTES = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """Return the duration *text*, as ``30s``, ``5m`` or ``1.5h``, in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", text.strip())
    if not match or float(match[1]) <= 0:
        raise ArgumentTypeError(f"{text!r} is no duration; write 30s, 5m or 2h")
    return float(match[1]) * _UNITS[match[2] or "s"]


def size(text: str) -> int:
    """Return the size *text*, as ``4096``, ``64KiB`` or ``1MiB``, in bytes."""
    match = re.fullmatch(r"(\d{1,15})(KiB|MiB|GiB)?", text.strip())
    if not match:
        raise ArgumentTypeError(f"{text!r} is no size; write 4096, 64KiB or 1MiB")
    return int(match[1]) * _BYTES[match[2] or ""]


def parameter(text: str) -> tuple[str, Any]:
    """Return ``key=value`` as key and value: JSON when it is JSON, text otherwise."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ArgumentTypeError(f"{text!r} is not of the form key=value")
    try:
        return key, json.loads(value, parse_constant=_not_json)
    except ValueError:
        return key, value


def address(text: str) -> tuple[str, int]:
    """Return ``host:port`` as host and port; port 0 takes any free one."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ArgumentTypeError(f"{text!r} is not of the form 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _not_json(constant: str) -> Never:
    raise ValueError(f"{constant} is not JSON")
