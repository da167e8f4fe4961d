"""Reads the log of a run from a position on, up to what counts of it."""

import asyncio
import codecs
from collections.abc import AsyncGenerator, Awaitable, Callable

from agent.pipelines.base import LogChunk
from agent.pipelines.kubernetes.record import Record

LARGEST_CHUNK = 32 * 1024
# Another agent may be the one that follows the run: only the files tell what it does.
_PAUSE = 0.05


async def read_log(
    record: Record, *, offset: int, follow: bool, attend: Callable[[], Awaitable[None]]
) -> AsyncGenerator[LogChunk]:
    """Yield the log from *offset* on, cut between characters, until its end.

    With *follow* the end is there when the run has ended, else when nothing more can be read.
    *attend* is called now and then, to see to it that somebody follows the run.
    """
    while True:
        over, chunk = await asyncio.to_thread(_look, record, offset)
        if chunk.text:
            yield chunk
            offset = chunk.end
        elif over or not follow:
            return
        else:
            await attend()
            await asyncio.sleep(_PAUSE)


def _look(record: Record, offset: int) -> tuple[bool, LogChunk]:
    # In this order: what was written before the end is read after it.
    over = record.directory.ending() is not None
    length = record.cursor().length
    try:
        with open(record.directory.log, "rb") as file:
            file.seek(offset)
            data = file.read(max(0, min(LARGEST_CHUNK, length - offset)))
    except FileNotFoundError:
        data = b""
    text, used = codecs.utf_8_decode(data, "replace", over and offset + len(data) >= length)
    return over, LogChunk(offset, offset + used, text)
