"""What a login to a cloud offers, and what it asks of secret stores. No login lives here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from agent.credentials import Credentials, Identity
from agent.secret import Secret
from agent.secret_reference import SecretReference

C = TypeVar("C", bound=Credentials)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Secrets in the order of their references, and their life in seconds where it is known."""

    secrets: tuple[Secret, ...] = field(repr=False)
    expires_in: float | None = None


class SecretSource(Protocol):
    """Where a login finds its secrets: the customer's secret stores."""

    async def resolve_together(self, references: Sequence[SecretReference]) -> Resolved:
        """Return what *references* name; fields of one path come from one reading.

        Raises:
            CredentialUnavailable: A store has no such thing, refuses, or is down.
        """

    def invalidate(self, reference: SecretReference) -> None:
        """Read it again at its next use; idempotent."""

    def register(self, secret: Secret) -> None:
        """Tell the redactor of a secret that came from elsewhere, as a token a cloud issued."""


class Login(Protocol[C]):
    """Comes by credentials in one way. Safe for concurrent calls of one event loop.

    They are issued once for many callers (single flight), at the first need, and kept until shortly
    before they expire. Every secret value is registered before anybody gets it.
    """

    async def credentials(self) -> C:
        """Return credentials that are valid now; waits while they are issued.

        Raises:
            CredentialUnavailable: A secret could not be read, or the cloud issued none.
        """

    def invalidate(self, used: C) -> None:
        """Forget *used*, which were refused, and the secrets behind them; idempotent.

        Newer ones are kept, so that of many who were refused only the first has an effect.
        """

    async def identity(self) -> Identity:
        """Ask the cloud who the credentials are, and until when.

        Raises:
            CredentialUnavailable: None could be issued.
            AccessDenied: The cloud refused them, also when they were issued anew.
            StoreUnavailable: The cloud did not answer.
        """

    async def close(self) -> None:
        """Free what was opened; idempotent."""
