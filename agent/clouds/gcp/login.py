"""Logging in to Google Cloud: credentials that are kept and renewed.

Coming by a token is a method's part.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from agent.clouds.base import SecretSource
from agent.clouds.cache import CredentialCache
from agent.clouds.gcp.auth import Google
from agent.clouds.gcp.methods import Method
from agent.clouds.gcp.token import Token
from agent.credentials import Credentials, GcpCredentials, Identity
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable
from agent.telemetry.logs import get_logger

log = get_logger()

C = TypeVar("C", bound=Credentials)
T = TypeVar("T")


class Tokens:
    """Issues tokens by one method, narrowed to *boundary* where there is one; keeps none.

    A token that can't be narrowed is not handed out. Every one is registered before that.
    """

    def __init__(
        self,
        method: Method,
        google: Google,
        secrets: SecretSource,
        *,
        boundary: Mapping[str, Any] | None = None,
    ) -> None:
        self.google = google
        self.secrets = secrets
        self._method = method
        self._boundary = boundary

    async def issue(self) -> Token:
        """Return a token that is valid now; raises AccessDenied and StoreUnavailable, too."""
        token = await self._method.issue()
        if self._boundary is None:
            return token
        try:
            narrowed = await self.google.narrowed(token, self._boundary)
        except (AccessDenied, StoreUnavailable) as refusal:
            detail = f"the token could not be narrowed: {refusal.detail}"
            raise type(refusal)(detail=detail) from None
        self.secrets.register(narrowed.secret)
        return narrowed

    def forget(self) -> None:
        """Start from the secrets at the next `issue`."""
        self._method.forget()


@dataclass(frozen=True, slots=True)
class Place:
    """Where tokens are good for; *project_id* None is the credentials' own."""

    project_id: str | None = None
    endpoint_url: str | None = None
    ca_file: Path | None = None


class GcpLogin(Generic[C]):
    """Hands out what *make* makes of the tokens of *tokens*.

    *name* is for logs and the metric of the expiry. The identity is what the credentials say of
    themselves, a service account's e-mail address or a pool of identities; whose a person's or a
    given token is, Google's tokeninfo is asked.
    """

    def __init__(
        self, name: str, gives: type[C], tokens: Tokens, make: Callable[[Token], Awaitable[C]]
    ) -> None:
        self.name = name
        self.gives = gives
        self._tokens = tokens
        self._make = make
        self._last: Token | None = None
        self._cache = CredentialCache(name, self._issue)

    async def credentials(self) -> C:
        return await self._cache.get()

    def invalidate(self, used: C) -> None:
        if self._cache.drop(used):
            log.warning("credential.refused", connector=self.name)
            self._tokens.forget()

    async def identity(self) -> Identity:
        return await self.ask(self._identity)

    async def ask(self, question: Callable[[C], Awaitable[T]]) -> T:
        """Return what *question* does; credentials that are refused are replaced once.

        Raises:
            CredentialUnavailable: There are no credentials. Besides, what *question* raises.
        """
        used = await self.credentials()
        try:
            return await question(used)
        except AccessDenied:
            self.invalidate(used)
        return await question(await self.credentials())

    async def close(self) -> None:
        await self._cache.close()

    async def _identity(self, credentials: C) -> Identity:
        token = self._last
        if token is None:
            raise CredentialUnavailable(detail="the agent is shutting down")
        if token.principal is not None:
            return Identity(token.principal, credentials.expires_at)
        name, until = await self._tokens.google.owner(token.whole or token.secret)
        return Identity(name, credentials.expires_at or until)

    async def _issue(self) -> C:
        try:
            try:
                return await self._made()
            except AccessDenied:
                # The secrets may have been rotated since they were read.
                self._tokens.forget()
                return await self._made()
        except (AccessDenied, StoreUnavailable) as refusal:
            raise CredentialUnavailable(detail=refusal.detail) from None

    async def _made(self) -> C:
        token = await self._tokens.issue()
        made = await self._make(token)
        self._last = token
        return made


def token_login(name: str, tokens: Tokens, place: Place) -> GcpLogin[GcpCredentials]:
    """Return the login that hands out the tokens themselves."""

    async def make(token: Token) -> GcpCredentials:
        return GcpCredentials(
            token=token.secret,
            project_id=place.project_id or token.project_id,
            endpoint_url=place.endpoint_url,
            expires_at=token.expires_at,
            ca_file=place.ca_file,
        )

    return GcpLogin(name, GcpCredentials, tokens, make)
