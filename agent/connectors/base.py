"""What every connector offers: credentials for one cloud or service. No connector lives here."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from agent.secrets.base import Secret


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """Credentials for AWS or an S3-compatible store, with where they are good for."""

    access_key_id: Secret
    secret_access_key: Secret
    session_token: Secret | None
    region: str | None
    endpoint_url: str | None
    expires_at: datetime | None = None
    ca_file: Path | None = None
    """PEM file of a private CA to trust at `endpoint_url`, beside the usual ones."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the credentials are, as the cloud names it; never a secret."""

    name: str
    expires_at: datetime | None = None


class Connector(Protocol):
    """Turns references to secrets into credentials. Safe for concurrent calls.

    Credentials are resolved once for many callers (single flight) and kept until shortly before
    they expire.
    """

    name: str

    async def credentials(self) -> AwsCredentials:
        """Return credentials that are valid for at least a minute; waits while they are resolved.

        Raises:
            CredentialUnavailable: A secret could not be read, or the cloud issued none.
        """

    def invalidate(self, used: AwsCredentials) -> None:
        """Forget *used*, which a store has refused, and the secrets behind it; idempotent.

        Newer ones are kept, so that of many who were refused only the first has an effect.
        """

    async def identity(self) -> Identity:
        """Ask the cloud who the credentials are.

        Raises:
            CredentialUnavailable: None could be resolved.
            AccessDenied: The cloud refused them.
            StoreUnavailable: The cloud did not answer.
        """

    async def close(self) -> None:
        """Free what was opened; idempotent."""
