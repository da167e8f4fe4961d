"""The JSON files that Google gives out for logins, checked before they are used. No I/O lives here.

They stand in the customer's secret stores, so the places they name are trusted: but no secret goes
there in the clear, and nothing that they name is run.
"""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from agent.egress import is_metadata
from agent.errors import CredentialUnavailable
from agent.secret import Secret

SECRET_MEMBERS = ("private_key", "refresh_token", "client_secret")

_URLS = ("token_uri", "token_url", "token_info_url", "service_account_impersonation_url")
_SOURCES = ("file", "url", "environment_id")
_METADATA_NAMES = {"metadata.google.internal"}


def parse_document(text: Secret, *, kind: str) -> dict[str, Any]:
    """Return the document of Google's type *kind*.

    Raises:
        CredentialUnavailable: It is none, or may not be used; `detail` repeats nothing of it but
            names of members and of types that Google knows.
    """
    try:
        document = json.loads(text.reveal())
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CredentialUnavailable(detail=f"what should be the JSON of a {kind} is no JSON object")
    if document.get("type") != kind:
        raise CredentialUnavailable(detail=f"the JSON has not the type {kind}")
    for name in _URLS:
        _require_safe(name, document.get(name), metadata=False)
    if kind == "external_account":
        _require_source(document.get("credential_source"))
    return document


def secrets_of(document: Mapping[str, Any]) -> Iterator[Secret]:
    """Yield the members that are secrets by themselves."""
    for name in SECRET_MEMBERS:
        if isinstance(document.get(name), str):
            yield Secret(document[name])


def asks_metadata(document: Mapping[str, Any]) -> bool:
    """Say whether the login that *document* describes asks a metadata service of the host."""
    source = document.get("credential_source") or {}
    urls = [value for name, value in source.items() if name.endswith("url")]
    return any(_is_metadata(urlsplit(str(url)).hostname or "") for url in urls)


def _require_source(source: object) -> None:
    """Refuse what would be run, and what would need a certificate of the host."""
    if not isinstance(source, dict) or not any(name in source for name in _SOURCES):
        raise CredentialUnavailable(
            detail="credential_source should be a file, a url or AWS; programs are not run and "
            "certificates not shown"
        )
    if "executable" in source or "certificate" in source:
        raise CredentialUnavailable(detail="credential_source names a program or a certificate")
    for name, value in source.items():
        if name.endswith("url"):
            _require_safe(f"credential_source.{name}", value, metadata=True)


def _require_safe(name: str, url: object, *, metadata: bool) -> None:
    """Refuse plain HTTP to another machine than this one, or its metadata service."""
    if url is None:
        return
    parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and (_is_loopback(host) or (metadata and _is_metadata(host))):
        return
    raise CredentialUnavailable(detail=f"{name} of the JSON should be an https:// address")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_metadata(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host in _METADATA_NAMES
    return is_metadata(host)
