"""The jobs of this control plane and how each ended. Who does them is decided elsewhere."""

import asyncio
import secrets
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import structlog

from agent.errors import Outcome, Reason
from agent.protocol.messages import JobResult
from control_plane_stub.signals import Signal
from control_plane_stub.storage.content import Content
from control_plane_stub.storage.joblog import JobLog
from control_plane_stub.storage.store import Store

log = structlog.get_logger()

ENDED = frozenset(outcome.value for outcome in Outcome)
UNREAD_IN_MEMORY = 32
"""So many contents that are not kept wait for a reader who comes after the end."""
ENDED_IN_MEMORY = 500
"""So many ended jobs are answered for without the database."""


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work, from its submission to its outcome; what `record` holds survives."""

    id: str
    kind: str
    parameters: dict[str, Any]
    created: float
    agent: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    deadline_s: float | None = None
    idempotency_key: str | None = None
    kept: bool = True
    state: str = "queued"
    reason: str | None = None
    message: str = ""
    result: dict[str, Any] | None = None
    trailer: dict[str, Any] | None = None
    size: int | None = None
    etag: str | None = None
    media_type: str | None = None
    instance: str | None = None
    durable: bool = False
    cancelling: bool = False
    accepted: float | None = None
    ended: float | None = None

    stored: bool = True
    """Whether the store knows it while it is open; a job that only passes through does not need
    that."""
    uploading: bool = False
    """Its content comes outside of the link at present."""
    progress: tuple[int, int | None] | None = None
    content: Content | None = None
    log: JobLog | None = None
    changed: Signal = field(default_factory=Signal)
    feed: "Feed | None" = None

    @property
    def has_ended(self) -> bool:
        return self.ended is not None

    def touch(self) -> None:
        """Tell everybody who follows this job that it changed."""
        self.changed.notify()
        if self.feed is not None:
            self.feed.mark(self)

    def record(self) -> dict[str, Any]:
        """Return what is stored."""
        return {name: getattr(self, name) for name in RECORDED}


RECORDED = tuple(Job.__dataclass_fields__)[: tuple(Job.__dataclass_fields__).index("stored")]


class Feed:
    """Who follows all jobs; each subscriber has its own set of changed jobs."""

    def __init__(self) -> None:
        self._subscribers: set[Subscription] = set()

    def subscribe(self) -> "Subscription":
        subscription = Subscription()
        self._subscribers.add(subscription)
        return subscription

    def unsubscribe(self, subscription: "Subscription") -> None:
        self._subscribers.discard(subscription)

    def mark(self, job: Job | None) -> None:
        """*job* changed, or with None: the agents did."""
        for subscription in self._subscribers:
            subscription.mark(job)


class Subscription:
    """What changed since it was asked last; a job that changes often is named once."""

    def __init__(self) -> None:
        self.changed = Signal()
        self._jobs: dict[str, Job] = {}
        self._agents = True

    def mark(self, job: Job | None) -> None:
        if job is None:
            self._agents = True
        else:
            self._jobs[job.id] = job
        self.changed.notify()

    def take(self) -> tuple[list[Job], bool]:
        """Return the changed jobs, and whether agents changed; forget both."""
        taken = list(self._jobs.values()), self._agents
        self._jobs, self._agents = {}, False
        return taken


class Jobs:
    """Every job: open ones in memory, the others in the store. A job ends exactly once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.feed = Feed()
        self.open: dict[str, Job] = {}
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._unread: deque[Job] = deque()
        self._by_key: dict[str, Job] = {}
        self.ended_by_outcome: Counter[str] = Counter()

    async def load(self) -> None:
        """Take in what an earlier process left open."""
        for record in await self._store.open_jobs():
            self.add(Job(**record))

    def add(self, job: Job) -> None:
        """Take in a new job; it is stored by `insert`, or when it ends."""
        job.feed = self.feed
        self.open[job.id] = job
        if job.idempotency_key is not None:
            self._by_key[job.idempotency_key] = job
        job.touch()

    def save(self, job: Job) -> asyncio.Future[None]:
        """Store *job* as it is now; a failure is logged if nobody awaits it."""
        saved = self._store.save_job(job.record(), ended=job.has_ended)
        saved.add_done_callback(_report)
        return saved

    def insert(self, job: Job) -> asyncio.Future[None]:
        """Store a new job; raises `sqlite3.IntegrityError` when its idempotency key is taken."""
        return self._store.save_job(job.record(), ended=False)

    def note(self, job: Job) -> None:
        """Store how far *job* is, where its end is not all that is stored of it."""
        if job.stored:
            self.save(job)

    async def find(self, job: str) -> Job | None:
        found = self.open.get(job) or self._ended.get(job)
        if found is None and (record := await self._store.job(job)):
            found = self.open.get(job) or Job(**record)
        return found

    async def find_by_key(self, key: str) -> Job | None:
        """Return the job that was submitted with this idempotency key."""
        found = self._by_key.get(key)
        if found is None and (record := await self._store.job_by_key(key)):
            found = self._by_key.get(key) or await self.find(record["id"])
        return found

    async def newest(self, *, agent: str | None, state: str | None, limit: int) -> list[Job]:
        """Return the newest jobs that fit, newest first."""
        records = await self._store.jobs(agent=agent, state=state, limit=limit)
        return [self.open.get(r["id"]) or self._ended.get(r["id"]) or Job(**r) for r in records]

    def end(
        self, job: Job, outcome: Outcome, *, reason: Reason | None = None, message: str = ""
    ) -> asyncio.Future[None]:
        """Give *job* its outcome; the future says when it is stored."""
        job.state, job.ended = outcome.value, time.time()
        job.reason = reason.value if reason is not None else None
        job.message = message
        self.ended_by_outcome[outcome.value] += 1
        del self.open[job.id]
        self._remember(job)
        if job.content is not None:
            job.content.settle(complete=outcome is Outcome.SUCCEEDED)
        if job.log is not None:
            job.log.close()
        job.touch()
        return self.save(job)

    def end_with(self, job: Job, answer: JobResult) -> asyncio.Future[None]:
        """End *job* as the agent reported it."""
        job.result = answer.result
        job.trailer = answer.trailer.model_dump()
        return self.end(job, answer.outcome, reason=answer.reason, message=answer.message)

    def _remember(self, job: Job) -> None:
        self._ended[job.id] = job
        if job.stored and not job.kept:
            self._unread.append(job)
        if len(self._unread) > UNREAD_IN_MEMORY and (old := self._unread.popleft()).content:
            old.content.abandon()
        if len(self._ended) > ENDED_IN_MEMORY:
            _, oldest = self._ended.popitem(last=False)
            if oldest.idempotency_key is not None:
                self._by_key.pop(oldest.idempotency_key, None)


def new_id() -> str:
    """Return an id that is unique for ever; ids sort by the time they were made."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def _report(saved: asyncio.Future[None]) -> None:
    if not saved.cancelled() and (failure := saved.exception()) is not None:
        log.error("job.not_stored", error=type(failure).__name__)
