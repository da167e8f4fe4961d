"""Lists one level of a bucket in pages of bounded memory. Credentials are the store's part."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import Entry, Page
from agent.artifacts.gcs.client import TIMEOUT
from agent.artifacts.paging import Position, child
from agent.errors import StoreUnavailable

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

MOST_PER_REQUEST = 1000
REQUESTS_PER_PAGE = 20
"""Google may answer with little, or nothing, and still have more: a page is then cut short."""

_FIELDS = "items(name,size,updated),prefixes,nextPageToken"
# The character behind the slash: the first name that sorts behind all keys of a directory.
_BEHIND_SLASH = "0"


def read_level(
    client: "Client", uri: ArtifactUri, *, page_size: int, after: Position | None
) -> Page:
    """Return the page behind *after*, in the order in which the store keeps its keys. Blocks.

    Raises:
        StoreUnavailable: The store went on answering with nothing. Besides, what the library
            raises.
    """
    level = _Level(uri, page_size, after)
    answers = client.list_blobs(
        uri.bucket,
        prefix=level.prefix or None,
        delimiter="/",
        start_offset=level.start,
        # One more says whether there is more; the first may be the one to continue behind.
        page_size=min(page_size + 2, MOST_PER_REQUEST),
        fields=_FIELDS,
        timeout=TIMEOUT,
        retry=None,
    )
    for number, answer in enumerate(answers.pages, 1):
        level.add(answer, answer.prefixes)
        if level.full or number == REQUESTS_PER_PAGE:
            break
    return level.page(complete=answers.next_page_token is None)


class _Level:
    """The entries that the answers so far make; one more than a page has is enough."""

    def __init__(self, uri: ArtifactUri, page_size: int, after: Position | None) -> None:
        self.prefix = f"{uri.key}/" if uri.key else ""
        self._uri = uri
        self._page_size = page_size
        self._after = after
        self._end = after
        self._found: dict[Position, Entry | None] = {}
        self._count = 0

    @property
    def full(self) -> bool:
        return self._count > self._page_size

    @property
    def start(self) -> str | None:
        """The first key that may be of the page."""
        if self._after is None:
            return None
        return self.prefix + self._after.name + (_BEHIND_SLASH if self._after.directory else "")

    def add(self, blobs: "Iterator[Blob]", prefixes: tuple[str, ...]) -> None:
        """Take in one answer; it lies behind those before, apart from directories seen again."""
        places = {Position(self._name(blob.name), directory=False): blob for blob in blobs}
        places |= {Position(self._name(one), directory=True): None for one in prefixes}
        for place in sorted(places, key=lambda place: place.order):
            # A key that ends where the level begins is how consoles make an empty directory.
            if place.name and place != self._after and place not in self._found and not self.full:
                self._end = place
                self._found[place] = self._entry(place, places[place])
                self._count += self._found[place] is not None

    def page(self, *, complete: bool) -> Page:
        entries = tuple(entry for entry in self._found.values() if entry is not None)
        if self.full:
            return Page(entries[:-1], Position.after(entries[-2]).token)
        if complete or self._end is None:
            return Page(entries, None)
        if self._end == self._after:
            raise StoreUnavailable(detail="the store answers a listing with empty pages")
        return Page(entries, self._end.token)

    def _name(self, key: str) -> str:
        return key.removeprefix(self.prefix).removesuffix("/")

    def _entry(self, place: Position, blob: "Blob | None") -> Entry | None:
        """Describe what lies there; None when no URI can hold its name."""
        uri = child(self._uri, place.name)
        if uri is None:
            return None
        if blob is None:
            return Entry(uri, "directory")
        return Entry(uri, "file", blob.size, blob.updated)
