"""Lists one level of a container in pages of bounded memory. Credentials are the store's part.

Azure goes on behind a page by a marker that only it understands. A page token of ours is a name,
since a caller may show less than a page. So the markers behind the pages of late are remembered,
and for every other place Azure is told the name to start from.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import Entry, Page
from agent.artifacts.paging import Position, child
from agent.clouds.azure.errors import translated

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineResponse
    from azure.storage.blob import BlobPrefix, BlobProperties, ContainerClient

REMEMBERED = 1000
REQUESTS_PER_PAGE = 20
"""A page of which much is not shown is cut short rather than kept waiting."""
FOLDER = "hdi_isfolder"
"""Metadata of the empty blobs by which a data lake, and Hadoop, make a directory."""


class Markers:
    """Where Azure goes on behind a place of a level, for the places of late."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, Position], str] = OrderedDict()

    def behind(self, uri: ArtifactUri, after: Position | None) -> str | None:
        """Return the marker behind *after*, if it is known."""
        return None if after is None else self._known.get((uri.key, after))

    def remember(self, uri: ArtifactUri, page: Page, marker: str | None) -> None:
        """Keep *marker*, which is behind *page*; the oldest one is forgotten for it."""
        if marker is None or page.next_token is None:
            return
        self._known[uri.key, Position.parse(page.next_token)] = marker
        if len(self._known) > self._most:
            self._known.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Level:
    """What lies directly below *uri*, from behind *after* on; *marker* is that place, if known."""

    uri: ArtifactUri
    page_size: int
    after: Position | None = None
    marker: str | None = None

    def read(self, client: "ContainerClient") -> tuple[Page, str | None]:
        """Return a page and the marker behind it. Blocks until there is an entry, or the end."""
        entries: list[Entry] = []
        marker, requests = self.marker, 0
        while True:
            found, marker = self._request(client, self.page_size - len(entries), marker)
            entries += found
            requests += 1
            if marker is None:
                return Page(tuple(entries), None), None
            full = len(entries) == self.page_size
            if full or (entries and requests >= REQUESTS_PER_PAGE):
                return Page(tuple(entries), Position.after(entries[-1]).token), marker

    @property
    def _prefix(self) -> str:
        return f"{self.uri.key}/" if self.uri.key else ""

    def _request(
        self, client: "ContainerClient", most: int, marker: str | None
    ) -> tuple[list[Entry], str | None]:
        versions: list[str] = []

        def note_version(response: "PipelineResponse[Any, Any]") -> None:
            versions.append(response.http_response.headers.get("x-ms-version", ""))

        options: dict[str, Any] = {}
        if self.after is not None and self.marker is None:
            options["start_from"] = f"{self._prefix}{self.after.order}"
        with translated():
            pages = client.walk_blobs(
                self._prefix or None,
                include=["metadata"],
                results_per_page=most,
                raw_response_hook=note_version,
                **options,
            ).by_page(marker)
            # Azure gives the directories of a page first, and then the blobs.
            items = sorted(next(pages, ()), key=lambda item: str(item.name))
        # A server of an older version does not know what to start from, and starts anew.
        ignored = bool(options) and versions[-1] < client.api_version
        return list(self._entries(items, ignored)), getattr(pages, "continuation_token", None)

    def _entries(
        self, items: "Iterable[BlobPrefix | BlobProperties]", from_start: bool
    ) -> Iterator[Entry]:
        for item in items:
            order = str(item.name).removeprefix(self._prefix)
            place = Position(order.removesuffix("/"), order.endswith("/"))
            passed = from_start and self.after is not None and place.order <= self.after.order
            if place != self.after and not passed and (entry := self._entry(place, item)):
                yield entry

    def _entry(self, place: Position, item: "BlobPrefix | BlobProperties") -> Entry | None:
        uri = child(self.uri, place.name)
        if uri is None:
            return None
        if place.directory:
            return Entry(uri, "directory")
        blob = cast("BlobProperties", item)
        if is_folder(blob.metadata):
            return None
        return Entry(uri, "file", blob.size, blob.last_modified)


def is_folder(metadata: object) -> bool:
    """Say whether a blob with this *metadata* is a directory of a data lake."""
    return isinstance(metadata, dict) and metadata.get(FOLDER) == "true"
