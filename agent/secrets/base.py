"""What every secret store offers. No store lives here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.errors import CredentialUnavailable
from agent.secret import Secret


@dataclass(frozen=True, slots=True)
class SecretValue:
    """What a store holds under one path: named fields, or one unnamed value under the empty name.

    *expires_in* is how many seconds the value is good for, where the store says so (a lease).
    """

    fields: Mapping[str, Secret] = field(repr=False)
    expires_in: float | None = None


class SecretStore(Protocol):
    """A place where the customer keeps secrets. Safe for concurrent calls."""

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        """Return what stands under *path* now, or stood there as *version*.

        Waits, and tries a bounded number of times.

        Raises:
            CredentialUnavailable: The store is down or sealed, refuses, has nothing there, or has
                no (such) version; `detail` says which, never the value.
        """

    def forget(self, path: str) -> None:
        """Keep nothing of what was read under *path*, which was refused; idempotent."""

    async def check(self) -> str:
        """Prove that the store answers and lets us in; return one line for a person.

        Raises:
            CredentialUnavailable: It does not; `detail` says why and what to do.
        """

    async def close(self) -> None:
        """End renewals and connections; idempotent."""


def refuse_version(version: str | None) -> None:
    """Refuse any *version*, for a store that has none.

    Raises:
        CredentialUnavailable: One was asked for.
    """
    if version is not None:
        raise CredentialUnavailable(detail=f"this store has no versions, and {version!r} was asked")
