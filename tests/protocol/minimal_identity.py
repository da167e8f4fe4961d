"""Who may connect to the minimal control plane; § cites agent/protocol/README.md, its one source.

Also what it takes to turn an agent away. Sessions and jobs are not known here.
"""

import base64
import hashlib
import json
import secrets
import struct
import time
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from websockets import Request

Message = dict[str, Any]
Keys = dict[str, tuple[str, bytes]]  # instance: agent, public key
MALFORMED = (AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error)
REASONS = {
    "bad_request": (4400, 400),
    "identity_rejected": (4401, 401),
    "join_token_rejected": (4402, 403),
    "revoked": (4403, 403),
    "version_unsupported": (4426, 426),
    "protocol_error": (4000, 400),
    "heartbeat_lost": (4008, 408),
    "superseded": (4010, 409),
    "clock_skew": (4011, 401),
    "restarting": (4504, 503),
}


class RefusedError(Exception):
    """The agent is turned away, with a reason, its close code and its HTTP status (§10)."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.code, self.status = REASONS[reason]
        self.body = json.dumps({"reason": reason})


def require(holds: bool, reason: str = "protocol_error") -> None:
    """Turn the agent away unless this holds."""
    if not holds:
        raise RefusedError(reason)


def unique(pairs: list[tuple[str, Any]]) -> Message:
    """§3: no key twice."""
    require(len(dict(pairs)) == len(pairs))
    return dict(pairs)


def parse(text: str | bytes) -> Message:
    """§3: one JSON object, without NaN, which int() refuses."""
    value = json.loads(text, object_pairs_hook=unique, parse_constant=int)
    require(isinstance(value, dict))
    return dict(value)


def number(value: Any) -> int:
    """An integer that is not negative."""
    require(type(value) is int and value >= 0)
    return int(value)


def unbase64(text: str) -> bytes:
    """Base64url without padding, in its one canonical spelling."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    require(base64.urlsafe_b64encode(raw).rstrip(b"=") == text.encode())
    return raw


def place(url: str) -> tuple[str, str]:
    """§1: host with port, and path; the scheme is left out, as TLS may end before us."""
    parts = urlsplit(url)
    return parts.netloc.lower().removesuffix({"ws": ":80", "wss": ":443"}[parts.scheme]), parts.path


def verify(request: Request, keys: Keys, url: str) -> Message:
    """§1: the claims of a proof for *url*, by the agents and keys that may connect."""
    try:
        (bearer,) = request.headers.get_all("Authorization")
        signed, _, signature = bearer.removeprefix("Bearer ").rpartition(".")
        head, claims = (parse(unbase64(part)) for part in signed.split("."))
        kind = ("EdDSA", "cloud-agent-proof+jwt", claims["iss"])
        require((head["alg"], head["typ"], head["kid"]) == kind and "crit" not in head)
        agent, key = keys[claims["iss"]]
        Ed25519PublicKey.from_public_bytes(key).verify(unbase64(signature), signed.encode())
        require(claims["sub"] == agent and place(claims["aud"]) == place(url))
        require(isinstance(claims["jti"], str) and number(claims["iat"]) >= 0)
    except (RefusedError, InvalidSignature, *MALFORMED) as error:
        raise RefusedError("identity_rejected") from error
    return claims


class Register:
    """Join tokens, the keys that were registered with them, and the proofs that were used."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.keys: Keys = {}
        self._tokens: dict[bytes, list[Any]] = {}  # hash: agent, time of expiry, instance
        self._seen: dict[tuple[str, str], float] = {}

    def new_join_token(self, agent: str) -> str:
        """§2: a token for one agent and one key; only its hash is kept."""
        token = "cajt_" + secrets.token_urlsafe(24)
        self._tokens[hashlib.sha256(token.encode()).digest()] = [agent, time.time() + 3600, None]
        return token

    def check(self, request: Request, url: str, keys: Keys | None = None) -> str:
        """§1: the instance that proves itself: not revoked, in time, and not a replay."""
        claims, now = verify(request, self.keys if keys is None else keys, url), time.time()
        proof = (claims["iss"], claims["jti"])
        require(claims["iss"] not in self.revoked, "revoked")
        require(abs(now - claims["iat"]) <= 300, "clock_skew")
        self._seen = {old: at for old, at in self._seen.items() if at > now - 600}
        require(proof not in self._seen, "identity_rejected")
        self._seen[proof] = now
        return str(claims["iss"])

    def enroll(self, request: Request, url: str, frame: Message) -> Message:
        """§2: register a key; the same token from the same key is answered again."""
        agent, key, instance = frame["agent"], unbase64(frame["public_key"]), frame["instance"]
        require(frame["type"] == "enroll")
        require(instance == "i-" + hashlib.sha256(key).hexdigest()[:20], "identity_rejected")
        self.check(request, url, {instance: (agent, key)})
        digest = hashlib.sha256(frame["join_token"].encode()).digest()
        token = self._tokens.get(digest, ["", 0.0, None])
        fits = token[2] in (None, instance) and time.time() < token[1]
        require(token[0] == agent and fits, "join_token_rejected")
        require(self.keys.get(instance, (agent,))[0] == agent, "join_token_rejected")
        token[2], self.keys[instance] = instance, (agent, key)
        return {"type": "enrolled", "agent": agent, "instance": instance}
