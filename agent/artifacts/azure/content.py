"""Compares what was read with the digests that Azure gives. Reading is not done here."""

import base64
import hashlib

from agent.errors import StoreUnavailable


def require_digest(data: bytes, digest: str | None) -> None:
    """Refuse *data* that is not what Azure sent with the MD5 *digest*, where it sent one.

    Raises:
        StoreUnavailable: It is not; asking again may help.
    """
    found = hashlib.md5(data, usedforsecurity=False).digest()
    if digest is not None and base64.b64encode(found).decode() != digest:
        raise StoreUnavailable(detail="the bytes came with the MD5 of others")
