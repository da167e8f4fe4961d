"""The places where a job's content is written to; nothing of how it is fetched."""

import asyncio
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from agent.errors import AgentError, UsageError


class Damaged(AgentError):
    """What arrived is not what was sent."""


class ContentFile:
    """Takes content in, counts and hashes it; `whole` once it was compared with the trailer."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.received = 0
        self.whole = False

    async def write(self, block: bytes) -> None:
        """Append *block*; waits for the disk or the reader of the pipe, but not on the loop."""
        await asyncio.to_thread(self._file.write, block)
        self._sha256.update(block)
        self.received += len(block)

    def require_whole(self, trailer: dict[str, Any]) -> None:
        """Compare with the sender's *trailer*.

        Raises:
            Damaged: Bytes are missing, or are others.
        """
        if self.received != trailer["bytes"]:
            raise Damaged(f"{self.received} of {trailer['bytes']} bytes arrived; no file is kept")
        if trailer["sha256"] not in (None, self._sha256.hexdigest()):
            raise Damaged("the SHA-256 is not that of the trailer; no file is kept")
        self.whole = True


@contextmanager
def content_file(target: str) -> Iterator[ContentFile]:
    """Give a place for what shall become the file *target*, or go to stdout when that is ``-``.

    The file appears under its name at once and only when the content is `whole` at the end of the
    block; otherwise nothing remains. What went to stdout, a pipe or a device can't be taken back.

    Raises:
        UsageError: The file can't be made there.
    """
    path = Path(target)
    if target == "-":
        yield ContentFile(sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif path.exists() and not path.is_file():
        with _opened(path) as file:
            yield ContentFile(file)
    else:
        with replacing(path) as replacement:
            content = ContentFile(replacement.file)
            yield content
            if content.whole:
                replacement.commit()


def write_private(target: Path, text: str) -> None:
    """Put *text* into the file *target*, which only its owner can read; replaces what was there.

    Raises:
        UsageError: The file can't be made there.
    """
    with replacing(target) as replacement:
        replacement.file.write(text.encode())
        replacement.commit()


@dataclass(frozen=True, slots=True)
class Replacement:
    """A temporary file that has yet to take the place of *target*."""

    file: BinaryIO
    temporary: Path
    target: Path

    def commit(self) -> None:
        """Take the place of the target, in one step."""
        self.file.flush()
        with _told_of(self.target):
            self.temporary.replace(self.target)


@contextmanager
def replacing(target: Path) -> Iterator[Replacement]:
    """Give a temporary file beside *target*, mode 0600; it is removed unless it was committed.

    Raises:
        UsageError: The file can't be made there.
    """
    with _told_of(target):
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield Replacement(file, Path(name), target)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with _told_of(path):
        file = path.open("wb")
    with file:
        yield file


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"-o {path}: {error.strerror}") from None
