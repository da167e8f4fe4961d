"""A job's outputs for the person who runs it here: content to a stream, the rest to the log."""

import asyncio
from typing import BinaryIO

from agent.jobs.outputs import Content, Log, Progress
from agent.telemetry.logs import get_logger

log = get_logger()


class StreamSink:
    """Writes content and log text to *stream*, in the order in which they come."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    async def content(self, content: Content) -> None:
        log.info("content.announced", size=content.size, media_type=content.media_type)

    async def data(self, block: bytes | memoryview) -> None:
        await asyncio.to_thread(self._stream.write, block)

    async def flush(self) -> None:
        await asyncio.to_thread(self._stream.flush)

    async def log(self, chunk: Log) -> None:
        await asyncio.to_thread(self._stream.write, chunk.text.encode())

    async def progress(self, progress: Progress) -> None:
        log.info("job.progress", done=progress.done, of=progress.of)
