"""Secrets in files below one directory, as Kubernetes and Docker mount them."""

import asyncio
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import CredentialUnavailable
from agent.secrets.base import SecretValue, refuse_version
from agent.secrets.beneath import open_beneath
from agent.secrets.fields import text_fields

_SIZE_LIMIT = 1024 * 1024
_TICK = 2.0
"""Seconds between which the coarsest of the usual file systems tells times apart."""

_Stamp = tuple[int, int, int, int, int]


class FileSecretStore:
    """Reads regular files below *root*, without the one newline an editor leaves at the end.

    Members of a JSON object can be named as fields. Each reading opens the file anew and so sees a
    swap; whether a value is current is seen by the file's identity and times.
    """

    def __init__(self, root: Path, *, tick: float = _TICK) -> None:
        self._root = root
        self._tick = tick

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        refuse_version(version)
        stamp, text = await asyncio.to_thread(self._read, path)
        return SecretValue(
            text_fields(text), is_current=lambda: asyncio.to_thread(self._stands, path, stamp)
        )

    async def check(self) -> str:
        try:
            names = await asyncio.to_thread(os.listdir, self._root)
        except OSError as error:
            raise CredentialUnavailable(detail=f"{self._root}: {error.strerror}") from None
        return f"{self._root} can be read and has {len(names)} entries"

    def forget(self, path: str) -> None:
        """Nothing is kept here."""

    async def close(self) -> None:
        """Nothing is open."""

    def _read(self, path: str) -> tuple[_Stamp | None, str]:
        try:
            with _opened(self._root, path) as file:
                stamp = self._stamp(file)
                content = _content(file)
            return stamp, content.removesuffix(b"\n").removesuffix(b"\r").decode()
        except OSError as error:
            detail = f"{path!r} below {self._root}: {error.strerror}"
        except UnicodeDecodeError:
            detail = f"{path!r} below {self._root} is not UTF-8 text"
        raise CredentialUnavailable(detail=detail)

    def _stands(self, path: str, stamp: _Stamp | None) -> bool:
        try:
            with _opened(self._root, path) as file:
                return stamp is not None and stamp == self._stamp(file)
        except OSError:
            return False

    def _stamp(self, descriptor: int) -> _Stamp | None:
        """Return what is another after each change; None just after one.

        Clocks of file systems are coarse: a second change in the same tick would leave no trace.
        """
        of = os.fstat(descriptor)
        if time.time() - max(of.st_mtime, of.st_ctime) < self._tick:
            return None
        return of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns


@contextmanager
def _opened(root: Path, path: str) -> Iterator[int]:
    descriptor = open_beneath(root, path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(None, "not a regular file")
    content = b""
    while block := os.read(descriptor, _SIZE_LIMIT + 1 - len(content)):
        content += block
    if len(content) > _SIZE_LIMIT:
        raise OSError(None, f"larger than {_SIZE_LIMIT} bytes")
    return content
