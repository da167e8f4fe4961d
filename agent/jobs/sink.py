"""A job's outputs as messages of the session, redacted."""

from collections.abc import Callable, Mapping
from typing import Protocol

from pydantic import JsonValue

from agent.errors import Outcome, Reason
from agent.jobs.execution import Ending
from agent.jobs.outputs import Content, Log, Progress
from agent.protocol.messages import (
    JobContent,
    JobLog,
    JobProgress,
    JobResult,
    Numbered,
    Trailer,
)

Redact = Callable[[str], str]
LONGEST_MESSAGE = 2000
LONGEST_RESULT = 768 * 1024
"""Of 1 MiB that every control plane takes."""


class Outbox(Protocol):
    """What jobs send through; `agent.link.lanes.Lanes` is one. It outlives every connection."""

    def post(self, message: Numbered) -> None: ...
    async def post_patiently(self, job: str, message: Numbered) -> None: ...
    def announce(self, content: JobContent, *, offset: int) -> None: ...
    async def send_block(self, job: str, block: bytes | memoryview) -> None: ...
    async def flush(self, job: str) -> None: ...
    def finish(self, job: str, last: Numbered) -> None: ...
    def drop_stream(self, job: str) -> None: ...


class MessageSink:
    """Sends the outputs of one job.

    Artifact content is passed on as it is, all text is redacted.
    """

    def __init__(self, job: str, outbox: Outbox, redact: Redact, *, offset: int) -> None:
        self._job = job
        self._outbox = outbox
        self._redact = redact
        self._offset = offset

    async def content(self, content: Content) -> None:
        """Announce it; the media type is free text of the object's owner, the etag is compared."""
        media_type = content.media_type
        message = JobContent(
            job=self._job,
            size=content.size,
            etag=content.etag,
            media_type=self._redact(media_type) if media_type is not None else None,
        )
        self._outbox.announce(message, offset=self._offset)

    async def data(self, block: bytes | memoryview) -> None:
        await self._outbox.send_block(self._job, block)

    async def flush(self) -> None:
        await self._outbox.flush(self._job)

    async def log(self, chunk: Log) -> None:
        text = self._redact(chunk.text)
        message = JobLog(job=self._job, offset=chunk.offset, end=chunk.end, text=text)
        await self._outbox.post_patiently(self._job, message)

    async def progress(self, progress: Progress) -> None:
        message = JobProgress(job=self._job, done=progress.done, of=progress.of)
        await self._outbox.post_patiently(self._job, message)


def result_message(job: str, ending: Ending, redact: Redact) -> JobResult:
    """Return what the control plane is told of *ending*.

    An answer that would not fit into a frame becomes a failure that does: it would break the link
    each time it is told, and it is told until it is settled.
    """
    message = _result_message(job, ending, redact)
    if len(message.model_dump_json().encode()) <= LONGEST_RESULT:
        return message
    too_large = Ending(
        Outcome.FAILED,
        Reason.TOO_LARGE,
        "the answer is larger than a message may be",
        bytes=ending.bytes,
        log_end=ending.log_end,
    )
    return _result_message(job, too_large, redact)


def _result_message(job: str, ending: Ending, redact: Redact) -> JobResult:
    return JobResult(
        job=job,
        outcome=ending.outcome,
        reason=ending.reason,
        message=redact(ending.message)[:LONGEST_MESSAGE],
        result={key: redacted_json(value, redact) for key, value in ending.result.items()},
        trailer=Trailer(bytes=ending.bytes, sha256=ending.sha256, log_end=ending.log_end),
    )


def recorded_result(job: str, outcome: Mapping[str, JsonValue]) -> JobResult:
    """Return the result that the journal kept; of an old, large one only the outcome is left."""
    if "trailer" in outcome:
        return JobResult.model_validate(outcome)
    return JobResult(
        job=job,
        outcome=Outcome(str(outcome["outcome"])),
        reason=Reason(str(outcome["reason"])) if outcome.get("reason") else None,
        trailer=Trailer(bytes=0),
    )


def redacted_json(value: JsonValue, redact: Redact) -> JsonValue:
    """Return *value* with every text in it redacted, keys included."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redacted_json(item, redact) for item in value]
    if isinstance(value, dict):
        return {redact(key): redacted_json(item, redact) for key, item in value.items()}
    return value
