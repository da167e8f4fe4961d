"""What an agent's messages and blocks do to its jobs. Frames and numbers are `link`'s business."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import Any

from agent.errors import Outcome, ProtocolError, Reason
from agent.protocol.codec import Block
from agent.protocol.messages import (
    AgentStatus,
    JobAccepted,
    JobContent,
    JobLog,
    JobProgress,
    JobRefused,
    JobResult,
    Numbered,
)
from control_plane_stub.agents.conversation import Conversation
from control_plane_stub.agents.instance import LIMITS, Instance
from control_plane_stub.jobs import Job, Jobs
from control_plane_stub.storage.content import Content, next_bytes
from control_plane_stub.storage.joblog import JobLog as LogFile
from control_plane_stub.storage.kept import Kept
from control_plane_stub.storage.relayed import Relayed
from control_plane_stub.storage.spool import Outcome as Stored
from control_plane_stub.storage.spool import Writer

BUSY = frozenset({Reason.BUSY, Reason.DRAINING})
SOONEST_OFFER_S = 0.05
LATEST_OFFER_S = 30.0


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where contents and logs are kept."""

    directory: Path
    writer: Writer
    content_limit: int

    def content(self, job: Job) -> Content:
        """Return the content of *job* as far as it is here; opens no file yet."""
        if not job.kept:
            initial = LIMITS.credit_bytes
            return Relayed(writer=self.writer, changed=job.changed, initial=initial)
        path = self.directory / "content" / job.id
        kept = Kept(path, writer=self.writer, changed=job.changed, limit=self.content_limit)
        kept.size = job.size
        return kept

    def discard(self, job: Job) -> None:
        """Remove what is here of the content of *job*; waits for the disk."""
        (self.directory / "content" / job.id).unlink(missing_ok=True)

    def log(self, job: Job) -> LogFile:
        """Return the log of *job* as far as it is here; opens no file yet."""
        path = self.directory / "logs" / job.id
        return LogFile(path, writer=self.writer, changed=job.changed)


class Inbox:
    """Takes in what agents say about jobs; nothing here waits.

    An agent's word counts only for jobs that were requested of the same instance.
    """

    def __init__(self, jobs: Jobs, shelf: Shelf, *, requeue: Callable[[Job, float], None]) -> None:
        self.received_bytes = 0
        self.on_given_up: Callable[[Job], None] = lambda _job: None
        """Called when the content of a job goes on in blocks: its upload brings nothing more."""
        self._jobs = jobs
        self._shelf = shelf
        self._requeue = requeue
        self._handlers: dict[type[Numbered], Callable[[Instance, Any], None]] = {
            JobAccepted: self._accepted,
            JobRefused: self._refused,
            JobContent: self._content,
            JobLog: self._log,
            JobProgress: self._progress,
            JobResult: self._result,
            AgentStatus: self._status,
        }

    def message(self, instance: Instance, message: Numbered) -> None:
        """Take in *message*.

        Raises:
            ProtocolError: It contradicts what came before.
        """
        self._handlers[type(message)](instance, message)

    def block(self, instance: Instance, conversation: Conversation, block: Block) -> None:
        """Take in one block of content.

        Raises:
            ProtocolError: It was not announced, or bytes before it are missing.
        """
        job = instance.open.get(block.job)
        if job is None or job.has_ended:
            return
        if job.content is None:
            raise ProtocolError("a block came before its job.content")
        piece = next_bytes(job.content, block.offset, block.data)
        self.received_bytes += len(piece)
        if len(piece):
            conversation.unsafe.append(block.seq)
            job.content.append(piece, partial(self._block_is_safe, instance, conversation))

    def uploaded(self, content: Content, piece: bytes, done: Callable[[], None]) -> None:
        """Take in the next bytes of *content*, which came outside of the link."""
        self.received_bytes += len(piece)
        content.append(memoryview(piece), done)

    def _block_is_safe(self, instance: Instance, conversation: Conversation) -> None:
        conversation.unsafe.popleft()
        if instance.link is not None:
            instance.link.kick()

    def _accepted(self, instance: Instance, message: JobAccepted) -> None:
        job = instance.open.get(message.job)
        if job is None:
            return
        job.state, job.durable = "running", message.durable
        job.accepted = job.accepted or time()
        self._jobs.note(job)
        job.touch()

    def _refused(self, instance: Instance, message: JobRefused) -> None:
        job = instance.open.get(message.job)
        if job is None:
            return
        instance.release(job)
        if message.reason in BUSY and not job.cancelling:
            wait = message.retry_after_s or SOONEST_OFFER_S
            self._requeue(job, min(max(wait, SOONEST_OFFER_S), LATEST_OFFER_S))
        else:
            outcome = Outcome.CANCELLED if job.cancelling else Outcome.REFUSED
            self._jobs.end(job, outcome, reason=message.reason, message=message.message)
        instance.capacity_changed()

    def _content(self, instance: Instance, message: JobContent) -> None:
        job = instance.open.get(message.job)
        if job is None:
            return
        known = job.content
        if (
            known is not None
            and known.have
            and (job.etag, job.size) != (message.etag, message.size)
        ):
            self._abandon(instance, job, Reason.CHANGED)
            return
        content = known or self._shelf.content(job)
        content.size = job.size = message.size
        job.etag, job.media_type, job.content = message.etag, message.media_type, content
        self._jobs.note(job)
        if message.lane is None:
            self.on_given_up(job)
            content.on_read = partial(instance.grant, job)
            instance.grant(job, anew=job.uploading)
        else:
            content.on_read = job.changed.notify
        job.uploading = message.lane is not None
        job.touch()

    def _log(self, instance: Instance, message: JobLog) -> None:
        job = instance.open.get(message.job)
        if job is None:
            return
        if job.log is None:
            job.log = self._shelf.log(job)
        job.log.append(message.offset, message.end, message.text)

    def _progress(self, instance: Instance, message: JobProgress) -> None:
        job = instance.open.get(message.job)
        if job is not None:
            job.progress = (message.done, message.of)
            job.touch()

    def _status(self, instance: Instance, message: AgentStatus) -> None:
        instance.draining = message.draining
        instance.max_concurrent_jobs = message.max_concurrent_jobs
        instance.capacity_changed()

    def _result(self, instance: Instance, message: JobResult) -> None:
        job = instance.open.get(message.job)
        if job is None:
            # Ended here already: the agent missed it, or it was never ours.
            instance.settle(message.job)
        elif job.content is None or message.outcome is not Outcome.SUCCEEDED:
            self._conclude(instance, job, message, None)
        else:
            job.content.finish(partial(self._conclude, instance, job, message))

    def _conclude(self, instance: Instance, job: Job, message: JobResult, stored: Stored) -> None:
        if job.has_ended:
            return
        instance.release(job)
        if isinstance(stored, OSError):
            text = "the control plane could not store the content"
            saved = self._jobs.end(job, Outcome.FAILED, reason=Reason.INTERNAL, message=text)
        elif message.outcome is Outcome.SUCCEEDED and not _is_whole(job, message, stored):
            text = "the content does not match its trailer"
            saved = self._jobs.end(job, Outcome.FAILED, reason=Reason.TRUNCATED, message=text)
        else:
            saved = self._jobs.end_with(job, message)
        saved.add_done_callback(lambda done: _settle(instance, job, stored=not done.exception()))
        instance.capacity_changed()

    def _abandon(self, instance: Instance, job: Job, reason: Reason) -> None:
        instance.cancel(job)
        instance.release(job)
        self._jobs.end(job, Outcome.FAILED, reason=reason, message="the artifact changed meanwhile")
        instance.capacity_changed()


def _is_whole(job: Job, message: JobResult, digest: str | None) -> bool:
    have = job.content.have if job.content else 0
    trailer = message.trailer
    if have != trailer.bytes or (job.content and job.content.size != have):
        return False
    return have == 0 or trailer.sha256 == digest


def _settle(instance: Instance, job: Job, *, stored: bool) -> None:
    if stored:
        instance.settle(job.id)
