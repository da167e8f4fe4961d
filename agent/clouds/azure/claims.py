"""What tokens of Microsoft Entra and SAS tokens say about themselves.

Nothing here is verified: it is shown to people and decides when to renew, and never whether
somebody may do something.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

_LONGEST = 200


def claims_of(token: str) -> Mapping[str, Any]:
    """Return the claims of a JWT; none of a token that is opaque to us."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def expiry_of(claims: Mapping[str, Any]) -> datetime | None:
    """Return when a token with these *claims* ends, if it says so."""
    expires = claims.get("exp")
    if not isinstance(expires, int):
        return None
    try:
        return datetime.fromtimestamp(expires, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def holder(token: str) -> str:
    """Say for a person who a token of Entra is for."""
    claims = claims_of(token)
    named = {
        "user": claims.get("upn") or claims.get("unique_name"),
        "application": claims.get("appid") or claims.get("azp"),
        "object": claims.get("oid"),
        "of tenant": claims.get("tid"),
    }
    shown = [f"{word} {value}" for word, value in named.items() if _presentable(value)]
    return " ".join(shown) or "the holder of an opaque token"


def sas_claims(sas: str) -> Mapping[str, str]:
    """Return the parameters of a SAS token."""
    return dict(parse_qsl(sas, keep_blank_values=True))


def sas_expiry(sas: str) -> datetime | None:
    """Return when a SAS token ends; one of a stored policy does not say it."""
    try:
        expires = datetime.fromisoformat(sas_claims(sas).get("se", ""))
    except ValueError:
        return None
    return expires if expires.tzinfo else expires.replace(tzinfo=UTC)


def sas_holder(sas: str) -> str:
    """Say for a person what a SAS token is good for, and in whose name it was issued."""
    claims = sas_claims(sas)
    what = claims.get("sp") or f"those of the policy {claims.get('si', '')}"
    where = {"c": "a container", "b": "a blob", "d": "a directory"}.get(claims.get("sr", ""))
    shown = f"a SAS for {where or 'the account'} with permissions {what}"
    if "skoid" in claims:
        shown += f", issued for object {claims['skoid']} of tenant {claims.get('sktid')}"
    return shown if _presentable(shown) else "a SAS"


def _presentable(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()
