"""Who asks: tokens of service accounts, tokens and passwords from a list, client certificates."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.kubernetes.refusals import unauthorized
from tests.doubles.kubernetes.requests import Request
from tests.doubles.kubernetes.storage import Key, Object, Storage

AUDIENCE = "https://kubernetes.default.svc"


@dataclass(frozen=True)
class User:
    """A name, and the groups that rights may be given to."""

    name: str
    groups: Sequence[str] = ("system:authenticated",)
    uid: str | None = None

    def shown(self) -> dict[str, Any]:
        """Return it as reviews show it."""
        uid = {"uid": self.uid} if self.uid else {}
        return {"username": self.name, **uid, "groups": list(self.groups)}


ANONYMOUS = User("system:anonymous", ["system:unauthenticated"])
ADMIN = User("kubernetes-admin", ["system:masters", "system:authenticated"])


class InvalidToken(Exception):
    """The text says why, as a TokenReview does."""


@dataclass
class Authentication:
    """Knows the *tokens* and *passwords* it is given, and the accounts in *storage*."""

    storage: Storage
    tokens: Mapping[str, User] = field(default_factory=dict)
    passwords: Mapping[tuple[str, str], User] = field(default_factory=dict)
    anonymous: bool = True
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def user(self, request: Request) -> User:
        """Return who asks; refuses credentials that are not good, also for what is public."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            try:
                return self.user_of_token(given, [AUDIENCE])[0]
            except InvalidToken:
                raise unauthorized() from None
        if scheme.lower() == "basic":
            return self._user_of_password(given)
        if request.certificate_name is not None:
            return User(request.certificate_name)
        if not self.anonymous:
            raise unauthorized()
        return ANONYMOUS

    def token(self, account: Object, audiences: Sequence[str], seconds: int) -> str:
        """Return a new token of the service account *account*."""
        now = int(self.storage.now().timestamp())
        meta = account["metadata"]
        about = {"name": meta["name"], "uid": meta["uid"]}
        claims = {
            "aud": list(audiences),
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "iss": AUDIENCE,
            "jti": secrets.token_hex(8),
            "kubernetes.io": {"namespace": meta["namespace"], "serviceaccount": about},
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
        }
        signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def user_of_token(self, token: str, audiences: Sequence[str]) -> tuple[User, list[str]]:
        """Return whose *token* is, and which of *audiences* it is meant for.

        Raises:
            InvalidToken: It is not good, or for none of them.
        """
        if token in self.tokens:
            return self.tokens[token], list(audiences)
        claims = self._claims(token)
        meant = [audience for audience in audiences if audience in claims["aud"]]
        if not meant:
            raise InvalidToken(
                f"[invalid bearer token, token audiences {json.dumps(claims['aud'])} is invalid "
                f"for the target audiences {json.dumps(list(audiences))}]"
            )
        return self._account(claims), meant

    def _account(self, claims: Mapping[str, Any]) -> User:
        namespace = claims["kubernetes.io"]["namespace"]
        account = claims["kubernetes.io"]["serviceaccount"]
        found = self.storage.get(Key("", "serviceaccounts", namespace, account["name"]))
        if found is None or found["metadata"]["uid"] != account["uid"]:
            raise InvalidToken(
                f'[invalid bearer token, serviceaccounts "{account["name"]}" not found]'
            )
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        return User(claims["sub"], [*groups, "system:authenticated"], account["uid"])

    def _claims(self, token: str) -> dict[str, Any]:
        signed, _, signature = token.rpartition(".")
        if signed.count(".") != 1:
            raise InvalidToken("invalid bearer token")
        if not hmac.compare_digest(signature, self._signature(signed)):
            raise InvalidToken(
                "[invalid bearer token, square/go-jose: error in cryptographic primitive]"
            )
        claims: dict[str, Any] = json.loads(_decoded(signed.partition(".")[2]))
        if claims["exp"] <= self.storage.now().timestamp():
            raise InvalidToken("[invalid bearer token, Token has expired.]")
        return claims

    def _user_of_password(self, given: str) -> User:
        name, _, password = base64.b64decode(given).decode().partition(":")
        if (name, password) not in self.passwords:
            raise unauthorized()
        return self.passwords[name, password]

    def _signature(self, signed: str) -> str:
        return _text(hmac.digest(self._key, signed.encode(), hashlib.sha256))


def _encoded(part: Mapping[str, Any]) -> str:
    return _text(json.dumps(part).encode())


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
