"""Lists one level of a bucket in pages of bounded memory. Credentials and retries are the store's.

obstore lists either everything below a prefix, in steps, or one level, all at once. A level may
have a million keys: so this takes steps, and jumps to the end of a directory that fills one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import Entry, Page
from agent.artifacts.paging import Position, child
from agent.artifacts.s3.errors import translated
from agent.errors import JobError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store

KEYS_PER_REQUEST = 1000
REQUESTS_PER_PAGE = 20
"""A page of many full directories is cut short rather than kept waiting."""

# Sorts behind every key of a directory: no character is larger.
_LAST = "\U0010ffff"


Ask = Callable[[str, str | None], "Awaitable[Sequence[ObjectMeta]]"]
"""Asks once for the keys below a prefix, behind a key."""


async def read_level(ask: Ask, uri: ArtifactUri, *, page_size: int, after: Position | None) -> Page:
    """Return the page behind *after*, in the order in which the store keeps its keys."""
    level = _Level(uri, page_size, after)
    for _ in range(REQUESTS_PER_PAGE):
        metas = await ask(uri.key, level.start)
        level.add(metas)
        if level.full or len(metas) < KEYS_PER_REQUEST:
            return level.page(complete=True)
    return level.page(complete=False)


class _Level:
    """The entries that the keys seen so far make; one more than a page has is enough."""

    def __init__(self, uri: ArtifactUri, page_size: int, after: Position | None) -> None:
        self._uri = uri
        self._prefix = f"{uri.key}/" if uri.key else ""
        self._page_size = page_size
        self._end = after
        self._entries: dict[Position, Entry] = {}

    @property
    def full(self) -> bool:
        return len(self._entries) > self._page_size

    @property
    def start(self) -> str | None:
        """The key behind which the next request begins."""
        if self._end is None:
            return None
        return f"{self._prefix}{self._end.order}{_LAST if self._end.directory else ''}"

    def add(self, metas: "Sequence[ObjectMeta]") -> None:
        for meta in metas:
            name, slash, _ = meta["path"].removeprefix(self._prefix).partition("/")
            place = Position(name, directory=bool(slash))
            if place != self._end and meta["path"] != self._uri.key and not self.full:
                self._end = place
                self._take(place, meta)

    def page(self, *, complete: bool) -> Page:
        entries = tuple(self._entries.values())
        if self.full:
            return Page(entries[:-1], Position.after(entries[-2]).token)
        return Page(entries, None if complete or self._end is None else self._end.token)

    def _take(self, place: Position, meta: "ObjectMeta") -> None:
        uri = child(self._uri, place.name)
        if uri is None:
            return
        if not place.directory:
            self._entries[place] = Entry(uri, "file", meta["size"], meta["last_modified"])
            return
        marker = self._entries.get(Position(place.name, directory=False))
        if marker is not None and marker.size == 0:
            # An empty key "name/", by which consoles make a folder; obstore drops the slash.
            del self._entries[Position(place.name, directory=False)]
        self._entries[place] = Entry(uri, "directory")


async def next_keys(client: "S3Store", prefix: str, start: str | None) -> "Sequence[ObjectMeta]":
    """Return what one request gives, none at the end."""
    import obstore

    stream = obstore.list(client, prefix or None, offset=start, chunk_size=KEYS_PER_REQUEST)
    async for metas in stream:
        return metas
    return ()


async def lacks(client: "S3Store", prefix: str, key: str) -> bool:
    """Say whether *key* is certainly missing below *prefix*; False also where we may not list."""
    last = ord(key[-1]) - 1
    # Halves of surrogate pairs are no characters: before U+E000 comes U+D7FF.
    before = key[:-1] + chr(0xD7FF if last == 0xDFFF else last) + _LAST
    try:
        with translated():
            metas = await next_keys(client, prefix, before)
    except JobError:
        return False
    return not metas or metas[0]["path"] != key
