"""An outbox that keeps what jobs send, in order, and can be made to wait."""

import asyncio
from typing import TypeVar

from agent.protocol.messages import JobContent, Numbered

M = TypeVar("M", bound=Numbered)


class RecordingOutbox:
    """Takes everything at once, unless `reader_waits` is set: then blocks wait for `read`."""

    def __init__(self) -> None:
        self.messages: list[Numbered] = []
        self.content: dict[str, bytes] = {}
        self.offsets: dict[str, int] = {}
        self.dropped: list[str] = []
        self.reader_waits = False
        self._changed = asyncio.Condition()

    def post(self, message: Numbered) -> None:
        self.messages.append(message)

    async def post_patiently(self, job: str, message: Numbered) -> None:
        self.post(message)

    def announce(self, content: JobContent, *, offset: int) -> None:
        self.offsets[content.job] = offset
        self.content[content.job] = b""
        self.post(content)

    async def send_block(self, job: str, block: bytes | memoryview) -> None:
        self.content[job] += bytes(block)
        while self.reader_waits:
            await asyncio.get_running_loop().create_future()

    async def flush(self, job: str) -> None:
        """Everything is where it belongs."""

    def finish(self, job: str, last: Numbered) -> None:
        self.post(last)

    def drop_stream(self, job: str) -> None:
        self.dropped.append(job)

    def of(self, kind: type[M]) -> list[M]:
        """Return the messages of one type, in order."""
        return [message for message in self.messages if isinstance(message, kind)]
