"""Reads a blob piece by piece. One piece is the store's part.

Each piece is a request of its own, so that a slow reader holds no connection that Azure would cut,
and each is asked for with the credentials of that moment: none of them is ever too old.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

AHEAD = 2
"""Pieces that are asked for before the reader wants them: the network's latency is hidden so."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a blob, and what Azure says about the whole of it."""

    data: bytes = field(repr=False)
    size: int
    etag: str
    media_type: str | None
    md5: bytes | None
    """Of the whole, as it was given when the blob was written; not all blobs have it."""


GetPiece = Callable[[int, int], Awaitable[Piece]]
"""Asks for so many bytes from a position on, of one version."""


class PieceSource:
    """A `Source` of which *first* is there already, beginning at *position*."""

    def __init__(
        self, first: Piece, get: GetPiece, *, position: int, end: int, piece_bytes: int
    ) -> None:
        self.size = first.size
        self.etag = first.etag
        self.media_type = first.media_type
        self.md5 = first.md5
        self._first: Piece | None = first
        self._get = get
        self._position = position + len(first.data)
        self._end = min(end, first.size)
        self._piece_bytes = piece_bytes
        self._ahead: deque[asyncio.Task[Piece]] = deque()

    async def read(self) -> bytes:
        first, self._first = self._first, None
        self._ask_ahead()
        if first is not None:
            return first.data
        if not self._ahead:
            return b""
        piece = await self._ahead.popleft()
        self._ask_ahead()
        return piece.data

    async def close(self) -> None:
        """Mind no piece any more; a request under way in its thread ends by itself."""
        self._end = self._position
        tasks = list(self._ahead)
        self._ahead.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask_ahead(self) -> None:
        while len(self._ahead) < AHEAD and self._position < self._end:
            length = min(self._piece_bytes, self._end - self._position)
            piece = self._get(self._position, length)
            self._ahead.append(asyncio.ensure_future(piece))
            self._position += length
