"""One running agent process as this side sees it: its session over many links, and its open jobs.

What its messages do to jobs is in `inbox`; frames and sockets are in `link`.
"""

import asyncio
import secrets
import time
from collections.abc import Callable

from agent.errors import Outcome, ProtocolError
from agent.protocol.messages import (
    Credit,
    Hello,
    JobCancel,
    JobRequest,
    JobSettled,
    Limits,
    Numbered,
    Standing,
    UploadOffer,
    Welcome,
)
from agent.protocol.session import Session
from control_plane_stub.agents.conversation import Conversation, Link
from control_plane_stub.jobs import Job, Jobs

SESSION_LIFE_S = 600.0
DEFAULT_CONCURRENT_JOBS = 16
CREDIT_STEP = 1024 * 1024
"""Credit is told in steps, not for each byte that was read."""
LIMITS = Limits()


class Instance:
    """Keeps one conversation over any number of links; the newest link is the one that counts."""

    def __init__(
        self,
        agent: str,
        name: str,
        *,
        jobs: Jobs,
        on_capacity: Callable[["Instance"], None],
        heartbeat_s: float,
        upload: UploadOffer | None,
    ) -> None:
        self.agent = agent
        self.name = name
        self.heartbeat_s = heartbeat_s
        self._upload = upload
        self.hello: Hello | None = None
        self.link: Link | None = None
        self.connected_since: float | None = None
        self.round_trip_s: float | None = None
        self.draining = False
        self.max_concurrent_jobs = DEFAULT_CONCURRENT_JOBS
        self.conversation: Conversation | None = None
        self.open: dict[str, Job] = {}
        """Jobs requested of this instance and not ended."""
        self._granted: dict[str, int] = {}
        self._jobs = jobs
        self._on_capacity = on_capacity
        self._forgetting: asyncio.TimerHandle | None = None
        self._stuck_at: tuple[str, int] | None = None

    def __repr__(self) -> str:
        state = "online" if self.link else "offline"
        return f"<Instance {self.agent}/{self.name} {state} jobs={len(self.open)}>"

    @property
    def has_room(self) -> bool:
        """Whether one more job may be requested of it now."""
        return (
            self.link is not None
            and not self.draining
            and len(self.open) < self.max_concurrent_jobs
        )

    def greet(self, hello: Hello) -> Welcome:
        """Take up the conversation where it was, or begin a new one; return the answer.

        A link that was up is superseded.
        """
        superseded, self.link = self.link, None
        if superseded is not None:
            superseded.close("superseded")
        self.hello = hello
        self._take_posture(hello)
        return self._resumed(hello) or self._begun(hello)

    def attach(self, link: Link) -> None:
        """*link* was welcomed: what the conversation has to say goes over it from now on."""
        if self._forgetting is not None:
            self._forgetting.cancel()
        self.link = link
        self.connected_since = time.time()
        self.capacity_changed()

    def detach(self, link: Link) -> None:
        """*link* is gone; the conversation is kept for a while."""
        if self.link is not link:
            return
        self.link = self.connected_since = self.round_trip_s = None
        loop = asyncio.get_running_loop()
        self._forgetting = loop.call_later(SESSION_LIFE_S, self._forget_conversation)
        self._jobs.feed.mark(None)

    def broken_at_frame(self) -> None:
        """The agent broke the protocol. Twice at the same frame, and the conversation is given up:

        resuming would bring that frame again, without end; in a new one the jobs go on from what
        is here.
        """
        if self.conversation is None:
            return
        here = (self.conversation.id, self.conversation.session.received)
        if here == self._stuck_at:
            self.conversation = None
        self._stuck_at = here

    def capacity_changed(self) -> None:
        """It may take more or fewer jobs now than before."""
        self._jobs.feed.mark(None)
        self._on_capacity(self)

    def request(self, job: Job) -> None:
        """Ask for *job*; it is this instance's from now on."""
        self.open[job.id] = job
        job.agent, job.instance, job.state = self.agent, self.name, "requested"
        self._request(job)
        self._jobs.note(job)
        job.touch()

    def cancel(self, job: Job) -> None:
        """Ask for the end of *job*; its result says how it ended."""
        job.cancelling = True
        self._jobs.note(job)
        self.post(JobCancel(job=job.id))

    def release(self, job: Job) -> None:
        """*job* is not this instance's any more."""
        self.open.pop(job.id, None)
        self._granted.pop(job.id, None)

    def give_up(self, why: str) -> None:
        """Nobody will hear of its open jobs any more: end them with an unknown outcome."""
        for job in list(self.open.values()):
            self.release(job)
            self._jobs.end(job, Outcome.OUTCOME_UNKNOWN, message=why)

    def settle(self, job: str) -> None:
        """Tell the agent that it may forget *job*."""
        self.post(JobSettled(job=job))

    def grant(self, job: Job, *, anew: bool = False) -> None:
        """Let the agent send as far as readers and spool allow, where that is news to it.

        *anew*: it goes on after an upload, from a position that it knows better than we do.
        """
        content = job.content
        if content is None or content.size is None or job.id not in self.open:
            return
        up_to = min(content.allowance(), content.size)
        if anew:
            self._granted[job.id] = 0
        granted = self._granted.setdefault(job.id, content.have + LIMITS.credit_bytes)
        if up_to >= granted + CREDIT_STEP or (up_to > granted and up_to == content.size):
            self._granted[job.id] = up_to
            self.post(Credit(job=job.id, up_to=up_to))

    def post(self, message: Numbered) -> None:
        """Send *message* in the conversation, now or over the next link."""
        if self.conversation is not None:
            self.conversation.session.post(message)
            if self.link is not None:
                self.link.kick()

    def _take_posture(self, hello: Hello) -> None:
        limit = hello.posture.get("max_concurrent_jobs")
        if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0:
            self.max_concurrent_jobs = limit
        self.draining = hello.draining

    def _resumed(self, hello: Hello) -> Welcome | None:
        known = self.conversation
        if known is None or hello.session != known.id:
            return None
        try:
            known.session.resume(hello.received)
        except ProtocolError:
            # It lost what it had acknowledged: only a new session can mend that.
            return None
        # What is on its way to the disk counts as taken in: it will not be asked for again.
        return Welcome(
            session=known.id,
            resumed=True,
            received=known.session.received,
            heartbeat_s=self.heartbeat_s,
            limits=LIMITS,
            upload=self._upload,
        )

    def _begun(self, hello: Hello) -> Welcome:
        self.conversation = Conversation(secrets.token_hex(16), Session(LIMITS))
        self._granted.clear()
        listed = {entry.job for entry in hello.jobs}
        standings = [self._standing(job) for job in self.open.values() if job.id in listed]
        for job in list(self.open.values()):
            if job.id in listed:
                self._continue(job)
            elif job.durable:
                self.release(job)
                self._jobs.end(job, Outcome.OUTCOME_UNKNOWN, message="the agent lost this job")
            else:
                self._request(job)
        return Welcome(
            session=self.conversation.id,
            resumed=False,
            heartbeat_s=self.heartbeat_s,
            limits=LIMITS,
            upload=self._upload,
            jobs=standings,
        )

    def _continue(self, job: Job) -> None:
        if job.cancelling:
            self.post(JobCancel(job=job.id))
        self.grant(job)

    def _request(self, job: Job) -> None:
        standing = self._standing(job)
        request = JobRequest(
            job=job.id,
            kind=job.kind,
            parameters=job.parameters,
            deadline_s=job.deadline_s,
            standing=standing if standing.have_bytes or standing.have_log else None,
        )
        self.post(request)
        if job.cancelling:
            self.post(JobCancel(job=job.id))

    def _standing(self, job: Job) -> Standing:
        return Standing(
            job=job.id,
            have_bytes=job.content.have if job.content else 0,
            have_log=job.log.end if job.log else 0,
            etag=job.etag,
        )

    def _forget_conversation(self) -> None:
        self.conversation = None
