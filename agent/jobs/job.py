"""One job between its request and its result: plain state, changed by `runner` alone."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self

from pydantic import JsonValue

from agent.jobs.admission import digest_of
from agent.jobs.kind import Ticket
from agent.journal import Record
from agent.protocol.messages import JobRequest, Standing


class Fate(Enum):
    """What becomes of a job when its task ends."""

    SHUTDOWN = auto()
    """It stays in the journal and is begun again by the next process."""
    CANCEL = auto()
    """It is being cancelled, and that will be its result."""
    RESTART = auto()
    """It is begun again, from its standing."""
    FORGET = auto()
    """It has its result, was refused, or nobody wants it any more."""


@dataclass(slots=True)
class Job:
    """One job; *standing* is what the control plane holds of it."""

    name: str
    kind: str
    digest: str
    parameters: Mapping[str, JsonValue]
    deadline_at: float | None
    standing: Standing
    has_place: bool = False
    """Counts against the number of jobs at once."""
    accepted: bool = False
    durable: bool = False
    """Told, or to be told, as on disk."""
    task: asyncio.Task[None] | None = None
    fate: Fate = Fate.SHUTDOWN
    accepted_at: float = field(default_factory=time.time)

    @classmethod
    def requested(cls, request: JobRequest) -> Self:
        """Return the job that *request* asks for."""
        return cls(
            request.job,
            request.kind,
            digest_of(request.kind, request.parameters),
            request.parameters,
            time.time() + request.deadline_s if request.deadline_s else None,
            request.standing or Standing(job=request.job),
        )

    @classmethod
    def interrupted(cls, record: Record) -> Self:
        """Return a job of a former process or session, to be begun again."""
        return cls(
            record.job,
            record.kind,
            record.digest,
            record.parameters,
            record.deadline_at,
            Standing(job=record.job),
            has_place=True,
            accepted=True,
            durable=record.durable,
            accepted_at=record.accepted_at,
        )

    def record(self) -> Record:
        """Return what the journal keeps of this job as it is accepted."""
        return Record(
            job=self.name,
            digest=self.digest,
            kind=self.kind,
            parameters=self.parameters,
            deadline_at=self.deadline_at,
            accepted_at=self.accepted_at,
            state="accepted",
            durable=self.durable,
            outcome=None,
        )

    @property
    def ticket(self) -> Ticket:
        """What the handler is told."""
        return Ticket(
            self.name,
            have_bytes=self.standing.have_bytes,
            have_log=self.standing.have_log,
            etag=self.standing.etag,
        )

    @property
    def time_left(self) -> float | None:
        """Seconds until the deadline, by the wall clock: it has to survive a restart."""
        return None if self.deadline_at is None else max(0.0, self.deadline_at - time.time())
