"""What jobs send through: everything to the channel, but large content to the upload lane."""

from agent.link.channel import Channel
from agent.link.supply import Supply
from agent.link.upload import UploadFailed
from agent.link.uploads import Uploads
from agent.protocol.messages import UPLOAD, JobContent, Numbered
from agent.telemetry.logs import get_logger

log = get_logger()


class Lanes:
    """Sends each content by one lane, and goes on in blocks with one that can't be uploaded."""

    def __init__(self, channel: Channel, uploads: Uploads) -> None:
        self._channel = channel
        self._uploads = uploads
        self._uploading: dict[str, tuple[Supply, JobContent]] = {}

    def post(self, message: Numbered) -> None:
        """Queue *message* before all data; never waits."""
        self._channel.post(message)

    async def post_patiently(self, job: str, message: Numbered) -> None:
        """Queue *message* of *job*; waits while too much text is on its way."""
        await self._channel.post_patiently(job, message)

    def announce(self, content: JobContent, *, offset: int) -> None:
        """Begin with *content* at *offset*, in the lane that fits it; never waits."""
        supply = self._uploads.begin(content.job, offset=offset, size=content.size)
        if supply is None:
            self._in_blocks(content, offset)
        else:
            self._uploading[content.job] = supply, content
            self._channel.post(content.model_copy(update={"lane": UPLOAD}))

    async def send_block(self, job: str, block: bytes | memoryview) -> None:
        """Send the next bytes of *job*; waits until the lane has room for more.

        Raises:
            JobError: The control plane does not take the content any more.
        """
        if job not in self._uploading:
            await self._channel.send_block(job, block)
            return
        supply, content = self._uploading[job]
        try:
            await supply.give(block)
        except UploadFailed as exc:
            await self._change_lane(supply, content, exc)

    async def flush(self, job: str) -> None:
        """Wait until what is uploaded of *job* is in safe hands; raises as `send_block` does.

        Blocks need no such wait: the result stays behind them.
        """
        if job not in self._uploading:
            return
        supply, content = self._uploading[job]
        try:
            await supply.flushed()
        except UploadFailed as exc:
            await self._change_lane(supply, content, exc)
        else:
            del self._uploading[job]
            self._uploads.end(job)

    def finish(self, job: str, last: Numbered) -> None:
        """Queue the last message of *job* behind its data; never waits."""
        self._channel.finish(job, last)

    def drop_stream(self, job: str) -> None:
        """Forget unsent data of *job*, and end its upload at once."""
        self._abort(job)
        self._channel.drop_stream(job)

    def _in_blocks(self, content: JobContent, offset: int) -> None:
        self._channel.open_stream(content.job, offset=offset)
        self._channel.post(content)

    async def _change_lane(self, supply: Supply, content: JobContent, why: UploadFailed) -> None:
        offset, kept = supply.rest()
        self._abort(content.job, close_lane=why.for_good)
        log.warning("upload.given_up", offset=offset, why=str(why), for_good=why.for_good)
        self._in_blocks(content, offset)
        for block in kept:
            await self._channel.send_block(content.job, block)

    def _abort(self, job: str, *, close_lane: bool = False) -> None:
        if job in self._uploading:
            supply, _ = self._uploading.pop(job)
            supply.abort()
            self._uploads.end(job, close_lane=close_lane)
