"""What the API does to Secrets: text becomes base64, keys are checked, immutable ones stay."""

import base64
import binascii
import re
from collections.abc import Iterable

from tests.doubles.kubernetes.refusals import Cause, bad_request
from tests.doubles.kubernetes.storage import Object

_KEY = r"[-._a-zA-Z0-9]+"


def complete_secret(new: Object) -> None:
    """Turn *stringData* into *data*, which a reader gets; refuses what is not base64."""
    data = new.get("data") or {}
    for value in data.values():
        _require_base64(value)
    texts = new.pop("stringData", None) or {}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    if data or encoded:
        new["data"] = {**data, **encoded}
    new.setdefault("type", "Opaque")


def faults_of_secret(new: Object) -> Iterable[Cause]:
    for key in new.get("data", ()):
        if not re.fullmatch(_KEY, key):
            yield Cause.invalid(
                f"data[{key}]",
                f'"{key}"',
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
                "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
                f"'{_KEY}')",
            )


def kept_of_secret(old: Object, new: Object) -> Iterable[Cause]:
    if old.get("immutable") and old.get("data") != new.get("data"):
        yield Cause.forbidden("data", "field is immutable when `immutable` is set")


def _require_base64(value: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error:
        raise bad_request(
            'Secret in version "v1" cannot be handled as a Secret: v1.Secret.StringData: Data: '
            "decode base64: illegal base64 data"
        ) from None
