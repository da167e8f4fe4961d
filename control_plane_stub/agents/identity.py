"""Checks the proof an agent gives with each connect: a compact JWS, Ed25519, used once.

Which key belongs to whom is the store's business, what to do with a refusal the caller's.
"""

import base64
import binascii
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.errors import ProtocolError
from agent.protocol.codec import parse_object
from control_plane_stub.agents.refusals import Refused

CLOCK_TOLERANCE = 300.0
DEFAULT_PORTS = {"wss": ":443", "ws": ":80", "https": ":443", "http": ":80"}
"""Left out of the Host header, as in a public name, whether or not an agent's URL has them."""
LONGEST_PROOF = 4096
LONGEST_LIFE = 300
MOST_REMEMBERED = 200_000
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof as it was sent; nothing of it is true before `verify`."""

    agent: str
    instance: str
    host: str
    path: str
    issued_at: float
    number: str
    signed: bytes
    signature: bytes


def read_proof(authorization: str | None) -> Proof:
    """Read the header's value.

    Raises:
        Refused: It is not there, too long, or not of the one form we know.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or len(token) > LONGEST_PROOF or token.count(".") != 2:
        raise Refused("identity_rejected")
    try:
        return _read(*token.split("."))
    except (ValueError, KeyError, TypeError, ProtocolError):
        raise Refused("identity_rejected") from None


def decode_base64url(text: str) -> bytes:
    """Return the bytes of *text*.

    Raises:
        ValueError: Not base64url without padding.
    """
    if not _BASE64URL.match(text):
        raise ValueError("not base64url")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None


class Verifier:
    """Accepts each proof once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], float] = {}

    def verify(self, proof: Proof, *, public_key: bytes, host: str, path: str) -> None:
        """Check signature, audience and time, and that this proof was not here before.

        Raises:
            Refused: ``identity_rejected``, or ``clock_skew`` when only the time is wrong.
        """
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(proof.signature, proof.signed)
        except (InvalidSignature, ValueError):
            raise Refused("identity_rejected") from None
        if (proof.host, proof.path) != (host.lower(), path):
            raise Refused("identity_rejected")
        if abs(time.time() - proof.issued_at) > CLOCK_TOLERANCE:
            raise Refused("clock_skew")
        self._require_new(proof)

    def _require_new(self, proof: Proof) -> None:
        now = time.time()
        name = (proof.agent, proof.instance, proof.number)
        if name in self._seen:
            raise Refused("identity_rejected")
        if len(self._seen) >= MOST_REMEMBERED:
            self._seen = {name: until for name, until in self._seen.items() if until > now}
        if len(self._seen) >= MOST_REMEMBERED:
            raise Refused("overloaded")
        self._seen[name] = proof.issued_at + CLOCK_TOLERANCE


def _read(header: str, claims: str, signature: str) -> Proof:
    head = parse_object(decode_base64url(header).decode())
    body = parse_object(decode_base64url(claims).decode())
    expected = {"alg": "EdDSA", "typ": "cloud-agent-proof+jwt", "kid": body["iss"]}
    if head != expected or not _NAME.match(body["iss"]) or not _NAME.match(body["sub"]):
        raise ValueError("another kind of token")
    issued_at, expires_at = _number(body["iat"]), _number(body["exp"])
    if not 0 < expires_at - issued_at <= LONGEST_LIFE:
        raise ValueError("lives too long")
    audience = urlsplit(_text(body["aud"], 512))
    return Proof(
        agent=body["sub"],
        instance=body["iss"],
        host=audience.netloc.lower().removesuffix(DEFAULT_PORTS.get(audience.scheme, "")),
        path=audience.path,
        issued_at=issued_at,
        number=_text(body["jti"], 128),
        signed=f"{header}.{claims}".encode("ascii"),
        signature=decode_base64url(signature),
    )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise ValueError("not a short text")
    return value
