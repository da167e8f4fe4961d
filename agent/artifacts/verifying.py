"""Compares the bytes of an object with the checksum that its store keeps. No store lives here."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from agent.artifacts.base import Artifact
from agent.errors import Truncated
from agent.telemetry.logs import get_logger

DIGESTED_AT_ONCE = 64 * 1024
"""Smaller blocks are digested on the loop: a hop to a thread would take longer."""

log = get_logger()


@dataclass(frozen=True, slots=True)
class Checksum:
    """Of a whole object, as its store keeps it; *algorithm* is one of `DIGESTS`."""

    algorithm: str
    value: bytes


class Digest(Protocol):
    """What hashlib's objects offer."""

    def update(self, block: bytes, /) -> None:
        """Take in the next bytes."""

    def digest(self) -> bytes:
        """Return the checksum of all of them."""


class VerifiedArtifact:
    """An `Artifact` that ends well only when its bytes are those that were stored.

    *expected* is asked for the checksum while the first block comes; None compares nothing. When
    the bytes have another one, `blocks` ends in Truncated, behind the last block.
    """

    def __init__(self, artifact: Artifact, expected: Awaitable[Checksum | None]) -> None:
        self.size = artifact.size
        self.etag = artifact.etag
        self.media_type = artifact.media_type
        self._artifact = artifact
        self._expected = expected
        self._comparison: _Comparison | None = None

    async def blocks(self) -> AsyncIterator[bytes]:
        async for block in self._artifact.blocks():
            if self._comparison is None:
                self._comparison = _Comparison(await self._expected)
            await self._comparison.add(block)
            yield block
        if self._comparison is not None:
            await self._comparison.require_equal()


def known(checksum: Checksum | None) -> "asyncio.Future[Checksum | None]":
    """Return *checksum* as something to await, for who knows it already."""
    answer = asyncio.get_running_loop().create_future()
    answer.set_result(checksum)
    return answer


class _Comparison:
    """Digests a large block in a thread while it is being sent."""

    def __init__(self, expected: Checksum | None) -> None:
        self._expected = expected
        self._digest = DIGESTS[expected.algorithm]() if expected else None
        self._digesting: asyncio.Future[None] | None = None

    async def add(self, block: bytes) -> None:
        if self._digest is None:
            return
        await self._digested()
        if len(block) > DIGESTED_AT_ONCE:
            loop = asyncio.get_running_loop()
            self._digesting = loop.run_in_executor(None, self._digest.update, block)
        else:
            self._digest.update(block)

    async def require_equal(self) -> None:
        if self._digest is None or self._expected is None:
            return
        await self._digested()
        algorithm = self._expected.algorithm
        if self._digest.digest() != self._expected.value:
            raise Truncated(
                "the bytes are not those that were stored",
                detail=f"the store keeps another {algorithm} than the bytes have that it sent",
            )
        log.debug("checksum.verified", algorithm=algorithm)

    async def _digested(self) -> None:
        digesting, self._digesting = self._digesting, None
        if digesting is not None:
            await digesting


class _Crc:
    """A cyclic redundancy check of *size* bytes, which *extend* computes in steps."""

    def __init__(self, extend: Callable[[bytes, int], int], size: int) -> None:
        self._extend = extend
        self._size = size
        self._value = 0

    def update(self, block: bytes, /) -> None:
        self._value = self._extend(block, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


def _crc32c() -> Digest:
    from google_crc32c import extend

    return _Crc(lambda block, value: extend(value, block), 4)


def _crc64nvme() -> Digest:
    return _Crc(import_module("awscrt.checksums").crc64nvme, 8)


DIGESTS: Mapping[str, Callable[[], Digest]] = {
    "crc32c": _crc32c,
    "crc32": lambda: _Crc(zlib.crc32, 4),
    **({"crc64nvme": _crc64nvme} if find_spec("awscrt") else {}),
    "md5": partial(hashlib.md5, usedforsecurity=False),
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
}
"""By the name of the algorithm, the cheapest first; crc64nvme where the package awscrt is."""
