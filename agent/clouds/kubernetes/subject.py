"""What credentials say of themselves: whose they are, and until when. Nothing is verified here."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from agent.credentials import KubernetesCredentials
from agent.secret import Secret


def subject_of(credentials: KubernetesCredentials) -> str:
    """Return the user that *credentials* are for, as far as they tell."""
    if credentials.username is not None:
        return credentials.username.reveal()
    if credentials.token is not None:
        claimed = _claims(credentials.token.reveal()).get("sub")
        return claimed if isinstance(claimed, str) else "the owner of a token"
    if credentials.client_certificate is not None:
        return _common_name(credentials.client_certificate.reveal())
    return "nobody"


def basic_pair(credentials: KubernetesCredentials) -> Secret | None:
    """Return user and password as a header holds them, or None where there are none."""
    if credentials.username is None or credentials.password is None:
        return None
    pair = f"{credentials.username.reveal()}:{credentials.password.reveal()}"
    return Secret(base64.b64encode(pair.encode()).decode())


def expiry(token: Secret | None, certificate: Secret | None) -> datetime | None:
    """Return the end of a *token* that is a JWT, else of a *certificate* in PEM text."""
    if token is not None:
        return _expiry_of_token(token.reveal())
    if certificate is not None:
        return _expiry_of_certificate(certificate.reveal())
    return None


def _expiry_of_token(token: str) -> datetime | None:
    seconds = _claims(token).get("exp")
    if not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _expiry_of_certificate(pem: str) -> datetime | None:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    except ValueError:
        return None


def _claims(token: str) -> dict[str, Any]:
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _common_name(pem: str) -> str:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        subject = x509.load_pem_x509_certificate(pem.encode()).subject
    except ValueError:
        return "the owner of a certificate"
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "the owner of a certificate"
