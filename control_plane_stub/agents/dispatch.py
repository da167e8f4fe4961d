"""Which instances there are, and which of them gets the next job. Nothing here waits."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from agent.errors import Outcome, Reason
from control_plane_stub.agents.instance import Instance
from control_plane_stub.jobs import Job, Jobs


class Directory:
    """The instances of every agent that has connected, or has open jobs, since the start."""

    def __init__(self) -> None:
        self._agents: dict[str, deque[Instance]] = {}

    def add(self, instance: Instance) -> None:
        self._agents.setdefault(instance.agent, deque()).append(instance)

    def get(self, agent: str, name: str) -> Instance | None:
        return next((one for one in self._agents.get(agent, ()) if one.name == name), None)

    def remove(self, instance: Instance) -> None:
        with suppress(KeyError, ValueError):
            self._agents[instance.agent].remove(instance)

    def __iter__(self) -> Iterator[Instance]:
        for instances in self._agents.values():
            yield from instances

    def with_room(self, job: Job) -> Instance | None:
        """Return the instance whose turn it is among those that may take *job* now."""
        names = self._agents if job.labels else [job.agent or ""]
        for name in names:
            if (chosen := self._next(name, job.labels)) is not None:
                return chosen
        return None

    def _next(self, agent: str, labels: dict[str, str]) -> Instance | None:
        instances = self._agents.get(agent, deque())
        for _ in range(len(instances)):
            instances.rotate(-1)
            if instances[-1].has_room and _matches(instances[-1], labels):
                return instances[-1]
        return None


class Dispatcher:
    """Gives queued jobs to instances with room, in the order they came in."""

    def __init__(self, jobs: Jobs, directory: Directory) -> None:
        self._jobs = jobs
        self._directory = directory
        self._named: dict[str, deque[Job]] = {}
        self._labelled: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Queue *job*, which goes out at once when somebody has room.

        When nobody takes it within its deadline, it ends as timed out.
        """
        if job.labels:
            self._labelled.append(job)
            self._offer_labelled()
        else:
            self._named.setdefault(job.agent or "", deque()).append(job)
            self._offer_named(job.agent or "")
        if job.deadline_s is not None and job.state == "queued":
            left = max(0.0, job.created + job.deadline_s - time.time())
            asyncio.get_running_loop().call_later(left, self._expire, job)

    def requeue(self, job: Job, delay: float) -> None:
        """Queue *job* again in *delay* seconds."""
        job.state, job.instance = "queued", None
        self._jobs.note(job)
        job.touch()
        asyncio.get_running_loop().call_later(delay, self.submit, job)

    def capacity_changed(self, instance: Instance) -> None:
        """*instance* may take more jobs than before."""
        self._offer_named(instance.agent)
        if self._labelled:
            self._offer_labelled()

    def cancel(self, job: Job) -> None:
        """End *job*: at once when it is queued, otherwise through its agent. Idempotent."""
        if job.has_ended:
            return
        owner = self._directory.get(job.agent or "", job.instance or "")
        if job.state == "queued" or owner is None:
            self._jobs.end(job, Outcome.CANCELLED)
        elif not job.cancelling:
            owner.cancel(job)

    def _expire(self, job: Job) -> None:
        if job.state == "queued":
            text = "no agent took the job within its deadline"
            self._jobs.end(job, Outcome.TIMED_OUT, reason=Reason.DEADLINE, message=text)

    def _offer_named(self, agent: str) -> None:
        queue = self._named.get(agent)
        while queue:
            if queue[0].has_ended:
                queue.popleft()
            elif (chosen := self._directory.with_room(queue[0])) is not None:
                chosen.request(queue.popleft())
            else:
                return

    def _offer_labelled(self) -> None:
        waiting, self._labelled = self._labelled, deque()
        for job in waiting:
            if job.has_ended:
                continue
            chosen = self._directory.with_room(job)
            if chosen is None:
                self._labelled.append(job)
            else:
                chosen.request(job)


def _matches(instance: Instance, labels: dict[str, str]) -> bool:
    offered = instance.hello.labels if instance.hello else {}
    return all(offered.get(name) == value for name, value in labels.items())
