"""Secrets in files below one directory, as Kubernetes and Docker mount them."""

import asyncio
import os
import stat
from pathlib import Path

from agent.errors import CredentialUnavailable
from agent.secrets.base import SecretValue, refuse_version
from agent.secrets.beneath import open_beneath
from agent.secrets.fields import text_fields

_SIZE_LIMIT = 1024 * 1024


class FileSecretStore:
    """Reads regular files below *root*, without the one newline an editor leaves at the end.

    Members of a JSON object can be named as fields. Each reading opens the file anew and so sees a
    swap.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        refuse_version(version)
        return SecretValue(text_fields(await asyncio.to_thread(self._text, path)))

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

    def _text(self, path: str) -> str:
        try:
            content = _content(open_beneath(self._root, path))
            return content.removesuffix(b"\n").removesuffix(b"\r").decode()
        except OSError as error:
            detail = f"{path!r} below {self._root}: {error.strerror}"
        except UnicodeDecodeError:
            detail = f"{path!r} below {self._root} is not UTF-8 text"
        raise CredentialUnavailable(detail=detail)


def _content(descriptor: int) -> bytes:
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "not a regular file")
        content = b""
        while block := os.read(descriptor, _SIZE_LIMIT + 1 - len(content)):
            content += block
    finally:
        os.close(descriptor)
    if len(content) > _SIZE_LIMIT:
        raise OSError(None, f"larger than {_SIZE_LIMIT} bytes")
    return content
