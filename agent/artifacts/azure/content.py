"""Compares what was read with the digests that Azure gives. Reading is not done here."""

import base64
import hashlib
from collections.abc import AsyncIterator

from agent.artifacts.base import Artifact
from agent.errors import Changed, StoreUnavailable


def require_digest(data: bytes, digest: str | None) -> None:
    """Refuse *data* that is not what Azure sent with the MD5 *digest*, where it sent one.

    Raises:
        StoreUnavailable: It is not; asking again may help.
    """
    found = hashlib.md5(data, usedforsecurity=False).digest()
    if digest is not None and base64.b64encode(found).decode() != digest:
        raise StoreUnavailable(detail="the bytes came with the MD5 of others")


class CheckedArtifact:
    """An `Artifact` that is not read to its end unless its MD5 is *md5*, where there is one.

    Whoever wrote the blob gave Azure that digest, and Azure keeps it without a look at the content.
    """

    def __init__(self, artifact: Artifact, md5: bytes | None) -> None:
        self.size = artifact.size
        self.etag = artifact.etag
        self.media_type = artifact.media_type
        self._artifact = artifact
        self._md5 = md5

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the bytes; the last ones only when all together are what they should be.

        Raises:
            Changed: They are not. Besides, as for an artifact.
        """
        digest = hashlib.md5(usedforsecurity=False)
        left = self.size
        async for block in self._artifact.blocks():
            left -= len(block)
            if self._md5 is not None:
                digest.update(block)
                if left == 0 and digest.digest() != self._md5:
                    raise Changed(detail="the content does not have the MD5 that is kept with it")
            yield block
