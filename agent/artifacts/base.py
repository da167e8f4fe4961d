"""What every artifact store offers. No store lives here."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from agent.artifact_uri import ArtifactUri

BlockBytes = Callable[[], int]
"""Says how much a transfer that begins now reads at once: less, the more there are."""

BEHIND_THE_END = "the range begins behind the end of the artifact"


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes *first* to *last*, counted from 0, both included; no *last* means to the end."""

    first: int
    last: int | None = None


class Artifact(Protocol):
    """One version of one object, opened for reading once, by one reader."""

    size: int
    """Of the whole object, in bytes, whatever the range."""
    etag: str
    """Opaque; differs when the content differs."""
    media_type: str | None

    def blocks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the range in order, read only as they are asked for.

        Raises:
            Truncated: The store ended before the last byte of the range.
            StoreUnavailable: The store failed in the middle.
        """


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing: an object, or a directory whose content was not looked at."""

    uri: ArtifactUri
    kind: Literal["file", "directory"]
    size: int | None = None
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """At most *page_size* entries; *next_token* continues, None ends.

    They come in the order of their names, where a directory's name counts with a slash at its end.
    A page may be short, or empty, and still not the last.
    """

    entries: tuple[Entry, ...]
    next_token: str | None


class ArtifactStore(Protocol):
    """A place where artifacts live. Safe for concurrent calls; every method may wait for the store.

    All of them raise AccessDenied (credential refused, also after it was resolved again once),
    CredentialUnavailable, and StoreUnavailable after a bounded number of tries.
    """

    name: str
    type: str
    """A fixed word such as ``s3``, fit for a metric's label."""

    def open(
        self, uri: ArtifactUri, *, span: ByteRange | None = None, etag: str | None = None
    ) -> AbstractAsyncContextManager[Artifact]:
        """Open *uri* for reading the bytes of *span*, or all; with *etag* only that version.

        Leaving the context ends the transfer at once, wherever it stands.

        Raises:
            NotFound: No object there (a directory, a link, a device are no objects).
            Changed: The object has not this *etag*.
            BadParameters: *span* begins behind the last byte; byte 0 of an empty object is none,
                but may be asked for.
        """

    async def list(self, uri: ArtifactUri, *, page_size: int, page_token: str | None) -> Page:
        """Return one page of what lies directly below *uri*, directories last-level only.

        *page_token* is that of a page before, or `paging.Position.after` of any entry: every store
        takes it, so that a caller who shows less than a page can go on behind what it has shown.

        Raises:
            NotFound: Nothing lies there, where the store can tell.
            BadParameters: *page_token* is not one of ours, *page_size* not between 1 and 1000.
        """

    async def check(self) -> str:
        """Prove that the store answers and lets us read; return one line for a person."""

    async def close(self) -> None:
        """Free connections; idempotent."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where a catalog says that an artifact is, which may be a directory.

    *beside* are files in it that are not the artifact's own, such as previews that were stored
    with it.
    """

    uri: ArtifactUri
    beside: frozenset[ArtifactUri] = frozenset()


@runtime_checkable
class Catalog(Protocol):
    """A store that knows where artifacts are, and need not hold their bytes itself."""

    async def locate(self, uri: ArtifactUri) -> Located:
        """Return where the bytes of *uri* are: at *uri* itself, or at a URI of another store.

        What comes back was written by whoever may write to the catalog: the caller asks the policy
        about it again, and reads it only through a store of the configuration.

        Raises:
            NotFound: The catalog knows no such thing.
            AccessDenied, CredentialUnavailable, StoreUnavailable: As for a store.
        """
