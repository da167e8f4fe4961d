"""One answer of S3 with the bytes of an object, by obstore. Who asks again is not known here."""

import asyncio
from typing import TYPE_CHECKING

from agent.artifacts.base import ByteRange
from agent.artifacts.s3.errors import translated
from agent.credentials import AwsCredentials

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions, GetResult

STALL_SECONDS = 60.0
"""For one block. However slow the reader is, the time it takes does not count."""


class S3Source:
    """A `Source` of one version of one object, which *credentials* could read.

    `version` is its id where the bucket keeps versions.
    """

    def __init__(
        self, result: "GetResult", credentials: AwsCredentials, *, block_bytes: int
    ) -> None:
        self.credentials = credentials
        meta = result.meta
        self.size = meta["size"]
        self.etag = meta["e_tag"] or ""
        self.media_type = result.attributes.get("Content-Type")
        self.version = meta["version"]
        self._stream: BytesStream | None = result.stream(min_chunk_size=block_bytes)

    async def read(self) -> bytes:
        stream = self._stream
        if stream is None:
            return b""
        with translated():
            async with asyncio.timeout(STALL_SECONDS):
                return await anext(stream, b"")

    async def close(self) -> None:
        # Nothing else holds it: what is left of the answer is not read, the connection closed.
        self._stream = None


def options(span: ByteRange | None, etag: str | None, version: str | None = None) -> "GetOptions":
    """Return the options of a request for *span* of the object with this *etag* and *version*."""
    wanted: GetOptions = {}
    if etag:
        wanted["if_match"] = etag
    if version is not None:
        wanted["version"] = version
    if span is not None:
        wanted["range"] = (
            {"offset": span.first} if span.last is None else (span.first, span.last + 1)
        )
    return wanted
