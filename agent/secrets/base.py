"""What every secret store offers. No store lives here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.errors import CredentialUnavailable
from agent.secret import Secret


@dataclass(frozen=True, slots=True)
class SecretValue:
    """What a store holds under one path: named fields, or one unnamed value under the empty name.

    *expires_in* is how many seconds the value is good for, where the store says so (a lease).
    *is_current* tells whether it still stands there, where that is cheaper than reading it again.
    *hold* keeps it valid for at most so many seconds, until what it returns is called, where the
    store can do something about that.
    """

    fields: Mapping[str, Secret] = field(repr=False)
    expires_in: float | None = None
    is_current: Callable[[], Awaitable[bool]] | None = field(default=None, repr=False)
    hold: Callable[[float], Callable[[], None]] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """Secrets that stay valid until `release`, as far as their stores can see to that.

    `release` is idempotent, and for the thread of the event loop.
    """

    secrets: tuple[Secret, ...] = field(repr=False)
    release: Callable[[], None] = field(repr=False)


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
