"""Artifacts in a directory. What keeps a path inside it is `beneath`'s part."""

import asyncio
import errno
import mimetypes
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import BEHIND_THE_END, BlockBytes, ByteRange, Page
from agent.artifacts.beneath import Descriptor, open_directory, open_file
from agent.artifacts.directory import read_level
from agent.artifacts.paging import Position, require_page_size
from agent.errors import (
    AccessDenied,
    BadParameters,
    Changed,
    NotFound,
    StoreUnavailable,
    Truncated,
)
from agent.telemetry import metrics

THREADS = 4
STALL_SECONDS = 60.0
"""A network file system that takes longer for one block has failed."""

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG}
_REFUSED = {errno.EACCES, errno.EPERM}

T = TypeVar("T")


class FileArtifact:
    """One open file. A change while it is read ends in Changed before its last block is given out.

    The etag is made of inode, size and times, so a change is seen to the resolution of the file
    system's clock.
    """

    def __init__(
        self, store: "FileArtifactStore", file: Descriptor, media_type: str | None
    ) -> None:
        self._store = store
        self._block_bytes = store.block_bytes()
        self._file: Descriptor | None = file
        self.media_type = media_type
        status = os.fstat(file.fd)
        self.size = status.st_size
        self.etag = _etag(status)
        self._span = (0, self.size)

    async def blocks(self) -> AsyncIterator[bytes]:
        first, end = self._span
        while first < end:
            block = await self._store.in_thread(self._read, self._opened(), first, end)
            metrics.artifact_bytes.labels(FileArtifactStore.type).inc(len(block))
            first += len(block)
            yield block

    def narrow(self, span: ByteRange | None) -> None:
        """Read only *span*, which is cut at the end of the file.

        Raises:
            BadParameters: It begins behind the end; byte 0 of an empty file does not.
        """
        if span is None or (span.first == 0 and self.size == 0):
            return
        if span.first >= self.size:
            raise BadParameters(BEHIND_THE_END)
        last = self.size - 1 if span.last is None else span.last
        self._span = (span.first, min(last + 1, self.size))

    def release(self) -> None:
        """Let go of the file; a read that is under way in a thread ends first."""
        self._file = None

    def _opened(self) -> Descriptor:
        if self._file is None:
            raise ValueError("the artifact is read outside of its context")
        return self._file

    def _read(self, file: Descriptor, first: int, end: int) -> bytes:
        block = os.pread(file.fd, min(self._block_bytes, end - first), first)
        if _etag(os.fstat(file.fd)) != self.etag:
            raise Changed
        if not block:
            raise Truncated
        return block


class FileArtifactStore:
    """Reads regular files below one directory; no link is followed on the way to them.

    Threads of its own do the waiting: a hung mount stops this store only.
    """

    type = "file"

    def __init__(self, name: str, root: ArtifactUri, *, block_bytes: BlockBytes) -> None:
        self.name = name
        self.block_bytes = block_bytes
        self._root = root
        self._directory = Path("/", *root.segments)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"artifacts.{name}")

    @asynccontextmanager
    async def open(
        self, uri: ArtifactUri, *, span: ByteRange | None = None, etag: str | None = None
    ) -> AsyncIterator[FileArtifact]:
        artifact = await self.in_thread(self._open, self._below_root(uri))
        try:
            if etag not in (None, artifact.etag):
                raise Changed
            artifact.narrow(span)
            yield artifact
        finally:
            artifact.release()

    async def list(self, uri: ArtifactUri, *, page_size: int, page_token: str | None) -> Page:
        """Return one page; each page reads the names of the whole level again."""
        require_page_size(page_size)
        after = None if page_token is None else Position.parse(page_token)
        return await self.in_thread(self._list, uri, page_size, after)

    async def check(self) -> str:
        await self.list(self._root, page_size=1, page_token=None)
        return "the directory can be read"

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, act: Callable[..., T], *arguments: object) -> T:
        """Run *act*, which blocks, in one of the store's threads."""
        loop = asyncio.get_running_loop()
        with _translated():
            async with asyncio.timeout(STALL_SECONDS):
                return await loop.run_in_executor(self._threads, act, *arguments)

    def _open(self, segments: tuple[str, ...]) -> FileArtifact:
        media_type, _ = mimetypes.guess_type(segments[-1]) if segments else (None, None)
        return FileArtifact(self, open_file(self._directory, segments), media_type)

    def _list(self, uri: ArtifactUri, page_size: int, after: Position | None) -> Page:
        directory = open_directory(self._directory, self._below_root(uri))
        return read_level(directory, uri, page_size=page_size, after=after)

    def _below_root(self, uri: ArtifactUri) -> tuple[str, ...]:
        if not uri.within(self._root):
            raise NotFound
        return uri.segments[len(self._root.segments) :]


def _etag(status: os.stat_result) -> str:
    facts = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return "-".join(f"{fact:x}" for fact in facts)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the system's errors into ours; their paths stay out of the public text."""
    try:
        yield
    except TimeoutError:
        raise StoreUnavailable(detail=f"the file system took over {STALL_SECONDS:.0f} s") from None
    except OSError as error:
        if error.errno is None or error.errno in _ABSENT:
            raise NotFound from None
        if error.errno in _REFUSED:
            raise AccessDenied(detail=os.strerror(error.errno)) from None
        raise StoreUnavailable(detail=os.strerror(error.errno)) from error
