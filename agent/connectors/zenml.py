"""Login to a ZenML server: an API key or a password becomes a token. Settings are not read here."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from agent.clouds.base import SecretSource
from agent.clouds.cache import CredentialCache
from agent.credentials import HttpCredentials, Identity
from agent.errors import AccessDenied, CredentialUnavailable, NotFound, StoreUnavailable
from agent.http_session import KeptSession
from agent.json_service import ask_json
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.telemetry.logs import get_logger
from agent.threads import Threads

_UNKNOWN_LIFE = timedelta(hours=1)
"""A server may issue tokens without an end. Logging in takes it most of a second, so that not even
such a token is asked for each time."""

log = get_logger()


@dataclass(frozen=True, slots=True)
class ZenmlServer:
    """Where it is."""

    url: str
    ca_file: Path | None = None

    def address(self, path: str) -> str:
        """Return the URL of an end point of its API."""
        return f"{self.url.rstrip('/')}/api/v1/{path}"


class ZenmlConnector:
    """Logs in to one server; *references* are an API key, a user and a password, or a token."""

    gives = HttpCredentials

    def __init__(
        self,
        name: str,
        server: ZenmlServer,
        secrets: SecretSource,
        method: str,
        references: Sequence[SecretReference],
    ) -> None:
        self.name = name
        self._server = server
        self._secrets = secrets
        self._method = method
        self._references = references
        self._session = KeptSession()
        self._threads = Threads(f"zenml.{name}", size=2)
        self._cache = CredentialCache(name, self._issue)

    async def credentials(self) -> HttpCredentials:
        return await self._cache.get()

    def invalidate(self, used: HttpCredentials) -> None:
        if self._cache.drop(used):
            log.warning("credential.refused", connector=self.name)
            for reference in self._references:
                self._secrets.invalidate(reference)

    async def identity(self) -> Identity:
        used = await self.credentials()
        try:
            name = await self._threads.run(partial(self._current_user, used))
        except AccessDenied:
            self.invalidate(used)
            used = await self.credentials()
            name = await self._threads.run(partial(self._current_user, used))
        return Identity(name, used.expires_at)

    async def close(self) -> None:
        await self._cache.close()
        self._threads.close()
        self._session.close()

    async def _issue(self) -> HttpCredentials:
        resolved = await self._secrets.resolve_together(self._references)
        values = [secret.reveal() for secret in resolved.secrets]
        if self._method == "token":
            return self._given(values[0])
        form = {"password": values[-1]} | ({"username": values[0]} if len(values) > 1 else {})
        try:
            answer = await self._threads.run(partial(self._ask, "POST", "login", data=form))
        except (AccessDenied, NotFound, StoreUnavailable) as refusal:
            raise CredentialUnavailable(detail=f"ZenML login: {refusal.detail}") from None
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise CredentialUnavailable(detail="ZenML login answered without a token")
        return self._given(token)

    def _given(self, token: str) -> HttpCredentials:
        header = Secret(f"Bearer {token}")
        for secret in (Secret(token), header):
            self._secrets.register(secret)
        expires_at = _expiry(token) or datetime.now(UTC) + _UNKNOWN_LIFE
        return HttpCredentials(header, self._server.url, expires_at, self._server.ca_file)

    def _current_user(self, used: HttpCredentials) -> str:
        header = used.authorization.reveal() if used.authorization else ""
        name = self._ask("GET", "current-user", headers={"Authorization": header}).get("name")
        return name if isinstance(name, str) else "a user without a name"

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        session = self._session.get(self._server.ca_file)
        return ask_json(session, method, self._server.address(path), **options)


def _expiry(token: str) -> datetime | None:
    """Return the end that a JWT claims; nobody vouches for it, so that only we rely on it."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (binascii.Error, ValueError, KeyError, TypeError, OverflowError, OSError):
        return None
