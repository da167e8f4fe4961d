"""What every part of the configuration is made of. No setting stands here."""

from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agent.egress import is_loopback
from agent.secret_reference import SecretReference

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Part(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        defer_build=True,
    )


def _reference_schema(schema: dict[str, Any]) -> None:
    schema.clear()
    schema.update(type="string", pattern=r"^secret://[^/]+/[^?#\s]+(\?version=[^?&#\s]+)?(#\S+)?$")


Reference = Annotated[
    SecretReference,
    BeforeValidator(SecretReference.parse),
    Field(json_schema_extra=_reference_schema),
]


def require_safe_url(name: str, url: str | None, *, allow_plaintext: bool | None = None) -> None:
    """Refuse a *url* that is none, carries a user, or speaks plain HTTP to another host.

    *allow_plaintext* is None where the part has no such key.

    Raises:
        ValueError: It is refused; the text begins with *name*, the key it stands at.
    """
    if url is None:
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name}: should be like https://service.example.com:8200")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"{name}: no user, password, query or fragment in it")
    if parts.scheme == "http" and not allow_plaintext and not is_loopback(parts.hostname):
        way_out = "" if allow_plaintext is None else ", or set allow_plaintext: true"
        raise ValueError(f"{name}: use https://{way_out}")


def has_host(parts: SplitResult) -> bool:
    """Say whether *parts* name a host and a port."""
    try:
        return bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False
