"""Logging in to services that take an ``Authorization`` header, by several methods.

How a token is obtained by OAuth 2 stands in `oauth`.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from agent.clouds.base import SecretSource
from agent.clouds.cache import CredentialCache
from agent.credentials import HttpCredentials, Identity
from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.telemetry.logs import get_logger

NOBODY = "nobody: no login is configured"
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_MOST_CLAIMS = 64 * 1024
_LONGEST_NAME = 200

log = get_logger()


@dataclass(frozen=True, slots=True)
class Issued:
    """The value of a header, whom it stands for as far as we know, and its end if that is known."""

    authorization: Secret | None
    who: str
    expires_at: datetime | None = None


class Method(Protocol):
    """One way to come by a header; keeps none."""

    async def issue(self) -> Issued:
        """Return one that is valid now, and registered.

        Raises:
            CredentialUnavailable: There is none; `detail` says why.
        """

    def forget(self) -> None:
        """Start from the secrets at the next `issue`, since what came of them was refused."""


class HttpLogin:
    """Hands out the headers that its method issues; *name* is for logs and metrics.

    *endpoint_url* and *ca_file* say where they are good for.
    """

    gives = HttpCredentials

    def __init__(
        self,
        name: str,
        method: Method,
        *,
        endpoint_url: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.name = name
        self._method = method
        self._endpoint_url = endpoint_url
        self._ca_file = ca_file
        self._who = ""
        self._cache = CredentialCache(name, self._issue)

    async def credentials(self) -> HttpCredentials:
        return await self._cache.get()

    def invalidate(self, used: HttpCredentials) -> None:
        if self._cache.drop(used):
            log.warning("credential.refused", connector=self.name)
            self._method.forget()

    async def identity(self) -> Identity:
        """Say what is known on this side: HTTP has no question for it, so the service is not asked.

        A user's or client's name is that of the configuration, and a token's what it claims
        itself: nothing of it was verified. Whether the service takes the credentials is for the
        check of a store that uses them. With OAuth 2, a token was issued.
        """
        credentials = await self.credentials()
        return Identity(self._who, credentials.expires_at)

    async def close(self) -> None:
        await self._cache.close()

    async def _issue(self) -> HttpCredentials:
        issued = await self._method.issue()
        self._who = issued.who
        return HttpCredentials(
            issued.authorization, self._endpoint_url, issued.expires_at, self._ca_file
        )


class NoLogin:
    """Sends no header."""

    async def issue(self) -> Issued:
        return Issued(None, NOBODY)

    def forget(self) -> None:
        """There is nothing to forget."""


class StoredToken:
    """A bearer token as it stands in a secret store."""

    def __init__(self, secrets: SecretSource, token: SecretReference) -> None:
        self._secrets = secrets
        self._reference = token

    async def issue(self) -> Issued:
        resolved = await self._secrets.resolve_together([self._reference])
        (token,) = resolved.secrets
        subject, end = claims(token)
        who = f"{subject}, as its token says" if subject else "a token"
        return Issued(bearer(self._secrets, token), who, _soonest(end, _after(resolved.expires_in)))

    def forget(self) -> None:
        self._secrets.invalidate(self._reference)


class StoredPassword:
    """A user and password as they stand in secret stores."""

    def __init__(self, secrets: SecretSource, references: Sequence[SecretReference]) -> None:
        self._secrets = secrets
        self._references = references

    async def issue(self) -> Issued:
        resolved = await self._secrets.resolve_together(self._references)
        username, password = resolved.secrets
        if ":" in username.reveal():
            raise CredentialUnavailable(detail="no username with a colon fits basic authentication")
        header = basic(self._secrets, username.reveal(), password)
        who = f"{username.reveal()}, as configured"
        return Issued(header, who, _after(resolved.expires_in))

    def forget(self) -> None:
        for reference in self._references:
            self._secrets.invalidate(reference)


def bearer(secrets: SecretSource, token: Secret) -> Secret:
    """Return the header for *token*, both of which are registered.

    Raises:
        CredentialUnavailable: It has characters that no header can hold, such as the newline at the
            end of a file.
    """
    secrets.register(token)
    if not _SENDABLE.fullmatch(token.reveal()):
        raise CredentialUnavailable(detail="the token has characters that no header can hold")
    return _registered(secrets, f"Bearer {token.reveal()}")


def basic(secrets: SecretSource, username: str, password: Secret) -> Secret:
    """Return the header for a user, registered whole and in its part that holds the password."""
    pair = base64.b64encode(f"{username}:{password.reveal()}".encode()).decode()
    secrets.register(Secret(pair))
    return _registered(secrets, f"Basic {pair}")


def claims(token: Secret) -> tuple[str | None, datetime | None]:
    """Return the subject and end that a JWT claims; nobody has verified them.

    Both are None for what is no JWT, or claims nothing of the kind.
    """
    found = _payload(token.reveal())
    subject, end = found.get("sub"), found.get("exp")
    if not (isinstance(subject, str) and subject.isprintable()):
        subject = None
    return subject[:_LONGEST_NAME] if subject else None, _time(end)


def _time(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _payload(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3 or len(parts[1]) > _MOST_CLAIMS:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _registered(secrets: SecretSource, header: str) -> Secret:
    secrets.register(Secret(header))
    return Secret(header)


def _after(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)


def _soonest(*ends: datetime | None) -> datetime | None:
    return min((end for end in ends if end is not None), default=None)
