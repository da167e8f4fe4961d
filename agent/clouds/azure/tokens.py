"""Access tokens of Microsoft Entra, and those that a secret store holds. None is issued here."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from agent.clouds.azure.claims import claims_of, expiry_of
from agent.clouds.base import SecretSource
from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secret_reference import SecretReference


@dataclass(frozen=True, slots=True)
class Token:
    """An access token; *expires_at* is None where an opaque one came without it."""

    secret: Secret
    expires_at: datetime | None


class TokenSource(Protocol):
    """One way to come by access tokens; keeps none."""

    async def token(self, scope: str) -> Token:
        """Return a token for *scope* that is valid now, and registered.

        Raises:
            CredentialUnavailable: There is none; `detail` says why.
        """

    def forget(self) -> None:
        """Start from the sources at the next `token`, since what came of them was refused."""


class StoredToken:
    """A token as it stands in a secret store, whatever it was issued for."""

    def __init__(self, secrets: SecretSource, reference: SecretReference) -> None:
        self._secrets = secrets
        self._reference = reference

    async def token(self, scope: str) -> Token:  # noqa: ARG002  # the customer chose it
        token = await self._read()
        if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
            # The customer renews it; what we kept of it may be older than that.
            self.forget()
            token = await self._read()
        if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
            raise CredentialUnavailable(
                detail=f"the token at {self._reference} ended at {token.expires_at:%F %T %Z}"
            )
        return token

    def forget(self) -> None:
        self._secrets.invalidate(self._reference)

    async def _read(self) -> Token:
        resolved = await self._secrets.resolve_together([self._reference])
        secret = resolved.secrets[0]
        require_sendable("token", secret)
        return Token(secret, expiry_of(claims_of(secret.reveal())))


def require_sendable(name: str, secret: Secret) -> None:
    """Refuse a value that no header can hold, such as one with the newline of its file.

    Raises:
        CredentialUnavailable: It has such characters, or none at all.
    """
    value = secret.reveal()
    if not (value.isascii() and value.isprintable()) or not value or " " in value:
        raise CredentialUnavailable(detail=f"{name} has characters that it can't have")
