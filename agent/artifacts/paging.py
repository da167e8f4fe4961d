"""What listings of one level share: order, page tokens, names. Reading is the stores' part."""

import base64
import binascii
from dataclasses import dataclass
from typing import Self

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import Entry
from agent.errors import BadParameters


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of a level: behind the entry *name*.

    It holds one name and no path: whatever a token says, it stays in the level asked for.
    """

    name: str
    directory: bool

    @classmethod
    def after(cls, entry: Entry) -> Self:
        """Return the place right behind *entry*."""
        return cls(entry.uri.segments[-1], entry.kind == "directory")

    @classmethod
    def parse(cls, token: str) -> Self:
        """Return what `token` made.

        Raises:
            BadParameters: It was not made by us.
        """
        try:
            text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
            level = ArtifactUri.parse(f"file:///{text}")
        except (binascii.Error, ValueError):
            raise BadParameters("the page token is not one of this agent") from None
        if len(level.segments) != 1:
            raise BadParameters("the page token is not one of this agent")
        return cls(level.segments[0], text.endswith("/"))

    @property
    def token(self) -> str:
        """The place as an opaque word."""
        return base64.urlsafe_b64encode(self.order.encode()).decode()

    @property
    def order(self) -> str:
        """What a level is sorted by: the name, with the slash that keys below a directory have."""
        return f"{self.name}/" if self.directory else self.name


def require_page_size(page_size: int) -> None:
    """Refuse a page that is empty or larger than stores give at once.

    Raises:
        BadParameters: It is not between 1 and 1000.
    """
    if not 1 <= page_size <= 1000:
        raise BadParameters("a page has between 1 and 1000 entries")


def child(uri: ArtifactUri, name: str) -> ArtifactUri | None:
    """Return the URI of *name* directly below *uri*; None when no URI can hold that name."""
    below = ArtifactUri(uri.scheme, uri.bucket, (*uri.segments, name))
    try:
        return below if ArtifactUri.parse(str(below)) == below else None
    except ValueError:
        return None
