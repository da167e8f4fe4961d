"""Reads the log of a run from a position on, while it grows or after its end."""

import asyncio
import codecs
import os
from collections.abc import AsyncGenerator

from agent.errors import NotFound
from agent.pipelines.base import LogChunk
from agent.pipelines.run_directory import RunDirectory

LARGEST_CHUNK = 32 * 1024
# The supervisor is no child of this process, and perhaps was started by an agent before it: only
# the files tell what it does. The wait belongs to whoever reads, and ends with it.
_PAUSE = 0.05


async def read_log(
    directory: RunDirectory, *, offset: int, follow: bool
) -> AsyncGenerator[LogChunk]:
    """Yield the log from *offset* on, cut between characters, until its end.

    With *follow* the end is there when the run has ended, else when nothing more can be read.
    """
    while True:
        over, chunk = await asyncio.to_thread(_look, directory, offset)
        if chunk.text:
            yield chunk
            offset = chunk.end
        elif over or not follow:
            return
        else:
            await asyncio.sleep(_PAUSE)


def _look(directory: RunDirectory, offset: int) -> tuple[bool, LogChunk]:
    # In this order: what was written before the end is read after it.
    over = _over(directory)
    return over, _read(directory, offset, whole=over)


def _over(directory: RunDirectory) -> bool:
    try:
        status = directory.status()
    except FileNotFoundError:
        raise NotFound("there is no such run") from None
    return status is None or status.state.ended


def _read(directory: RunDirectory, offset: int, *, whole: bool) -> LogChunk:
    """Read one chunk; a character that is cut off is left for later, unless this is *whole*."""
    try:
        with open(directory.log, "rb") as file:
            file.seek(offset)
            data = file.read(LARGEST_CHUNK)
            whole = whole and file.tell() >= os.fstat(file.fileno()).st_size
    except FileNotFoundError:  # The supervisor has not come that far.
        data = b""
    text, used = codecs.utf_8_decode(data, "replace", whole)
    return LogChunk(offset, offset + used, text)
