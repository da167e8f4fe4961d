"""Takes pieces out of what Vault answered, without trusting its shape. Asking is not done here."""

from collections.abc import Mapping
from typing import Any

from agent.errors import CredentialUnavailable

Answer = Mapping[str, Any]


def section(answer: Answer, *names: str) -> Answer:
    """Return the object that stands below *names*.

    Raises:
        CredentialUnavailable: There is none; the text quotes nothing of the answer.
    """
    piece: object = answer
    for name in names:
        piece = piece.get(name) if isinstance(piece, dict) else None
    if not isinstance(piece, dict):
        raise CredentialUnavailable(detail=f"Vault's answer lacks the object {'.'.join(names)}")
    return piece


def seconds(answer: Answer, name: str) -> float:
    """Return the number of seconds under *name*.

    Raises:
        CredentialUnavailable: There is none.
    """
    value = answer.get(name)
    if not isinstance(value, int | float):
        raise CredentialUnavailable(detail=f"Vault's answer lacks the number {name}")
    return float(value)


def text(answer: Answer, name: str) -> str:
    """Return the text under *name*.

    Raises:
        CredentialUnavailable: There is none.
    """
    value = answer.get(name)
    if not isinstance(value, str):
        raise CredentialUnavailable(detail=f"Vault's answer lacks the text {name}")
    return value
