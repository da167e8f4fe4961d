"""An artifact store in the memory of the process, locked by a key."""

import hashlib
import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agent.artifact_uri import ArtifactUri
from agent.artifacts.asking import ask
from agent.artifacts.base import BEHIND_THE_END, BlockBytes, ByteRange, Entry, Page
from agent.artifacts.paging import Position, require_page_size
from agent.connectors.base import Connector
from agent.credentials import HttpCredentials
from agent.errors import AccessDenied, BadParameters, Changed, NotFound
from agent.telemetry import metrics

KEY = "the-key-of-the-moon"
CONTENTS: dict[ArtifactUri, bytes] = {
    ArtifactUri.parse("mem://moon/rocks/basalt.txt"): b"grey",
    ArtifactUri.parse("mem://moon/rocks/breccia.txt"): b"greyer",
}


class MemoryArtifact:
    """One object, as it was when it was opened."""

    def __init__(self, data: bytes, span: ByteRange | None, name: str, block_bytes: int) -> None:
        self.size = len(data)
        self.etag = hashlib.sha256(data).hexdigest()
        self.media_type = mimetypes.guess_type(name)[0]
        self._block_bytes = block_bytes
        last = None if span is None or span.last is None else span.last + 1
        self._data: bytes | None = data[span.first if span else 0 : last]

    async def blocks(self) -> AsyncIterator[bytes]:
        position = 0
        while block := self._open()[position : position + self._block_bytes]:
            metrics.artifact_bytes.labels("mem").inc(len(block))
            position += len(block)
            yield block

    def release(self) -> None:
        self._data = None

    def _open(self) -> bytes:
        if self._data is None:
            raise ValueError("the artifact is read outside of its context")
        return self._data


class MemoryArtifactStore:
    """Reads `CONTENTS` below its root for whoever has the key."""

    type = "mem"

    def __init__(
        self,
        name: str,
        root: ArtifactUri,
        connector: Connector[HttpCredentials],
        block_bytes: BlockBytes,
    ) -> None:
        self.name = name
        self._root = root
        self._connector = connector
        self._block_bytes = block_bytes

    @asynccontextmanager
    async def open(
        self, uri: ArtifactUri, *, span: ByteRange | None = None, etag: str | None = None
    ) -> AsyncIterator[MemoryArtifact]:
        data = (await self._unlocked()).get(uri)
        if data is None or not uri.within(self._root):
            raise NotFound
        if span is not None and span.first > 0 and span.first >= len(data):
            raise BadParameters(BEHIND_THE_END)
        artifact = MemoryArtifact(data, span, uri.segments[-1], self._block_bytes())
        if etag is not None and etag != artifact.etag:
            raise Changed
        try:
            yield artifact
        finally:
            artifact.release()

    async def list(self, uri: ArtifactUri, *, page_size: int, page_token: str | None) -> Page:
        require_page_size(page_size)
        after = Position.parse(page_token).order if page_token is not None else ""
        level = self._level(uri, await self._unlocked())
        if not level or not uri.within(self._root):
            raise NotFound
        names = sorted(order for order in level if order > after)
        entries = tuple(level[order] for order in names[:page_size])
        more = len(names) > page_size
        return Page(entries, Position.after(entries[-1]).token if more else None)

    async def check(self) -> str:
        return f"{len(await self._unlocked())} objects can be listed"

    async def close(self) -> None:
        """Nothing is open."""

    async def _unlocked(self) -> dict[ArtifactUri, bytes]:
        return await ask(self._connector, _unlock, store=self.name)

    def _level(self, uri: ArtifactUri, held: dict[ArtifactUri, bytes]) -> dict[str, Entry]:
        depth = len(uri.segments)
        level: dict[str, Entry] = {}
        for one, data in held.items():
            if one.within(uri) and len(one.segments) > depth:
                below = ArtifactUri(one.scheme, one.bucket, one.segments[: depth + 1])
                file = len(one.segments) == depth + 1
                size = len(data) if file else None
                entry = Entry(below, "file" if file else "directory", size)
                level[Position.after(entry).order] = entry
        return level


async def _unlock(credentials: HttpCredentials) -> dict[ArtifactUri, bytes]:
    key = credentials.authorization
    if key is None or key.reveal() != KEY:
        raise AccessDenied(detail="that is not the key")
    return CONTENTS


def open_store(
    settings: Any, connector: Connector[HttpCredentials] | None, block_bytes: BlockBytes
) -> MemoryArtifactStore:
    """Build the store of a configured ``mem://`` URI."""
    assert connector is not None
    return MemoryArtifactStore(settings.name, settings.root, connector, block_bytes)
