"""A whole object whose bytes are compared with the checksum that the store keeps of it."""

import base64
from collections.abc import AsyncIterator

from agent.artifacts.resuming import Begin, ResumingArtifact, Source
from agent.errors import StoreUnavailable


class VerifiedArtifact(ResumingArtifact):
    """Yields its last block only when all bytes together have the checksum *crc32c*, in base64.

    `blocks` then raises StoreUnavailable as well: what came is not what the store holds.
    """

    def __init__(self, source: Source, begin: Begin, *, crc32c: str, store_type: str) -> None:
        super().__init__(source, begin, None, store_type=store_type)
        self._crc32c = crc32c

    async def blocks(self) -> AsyncIterator[bytes]:
        import google_crc32c

        checksum, left = 0, self.size
        async for block in super().blocks():
            checksum = google_crc32c.extend(checksum, block)
            left -= len(block)
            if left == 0 and base64.b64encode(checksum.to_bytes(4)).decode() != self._crc32c:
                raise StoreUnavailable(detail="the bytes have another crc32c than the store says")
            yield block
