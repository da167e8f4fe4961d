"""One control plane: its parts, put together. Neither HTTP nor WebSockets belong here."""

from dataclasses import dataclass
from pathlib import Path

from agent.errors import Outcome, Reason
from agent.protocol.messages import UploadOffer
from control_plane_stub.agents.dispatch import Directory, Dispatcher
from control_plane_stub.agents.faults import Faults
from control_plane_stub.agents.inbox import Inbox, Shelf
from control_plane_stub.agents.instance import Instance
from control_plane_stub.agents.recording import Recorder
from control_plane_stub.jobs import Job, Jobs
from control_plane_stub.storage.spool import Writer
from control_plane_stub.storage.store import Store


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """What the endpoints of agents and of users share."""

    store: Store
    jobs: Jobs
    writer: Writer
    shelf: Shelf
    directory: Directory
    dispatcher: Dispatcher
    inbox: Inbox
    faults: Faults
    recorder: Recorder | None
    heartbeat_s: float
    upload: UploadOffer | None

    def instance(self, agent: str, name: str) -> Instance:
        """Return this instance, which is made when it is met for the first time."""
        known = self.directory.get(agent, name)
        if known is None:
            known = Instance(
                agent,
                name,
                jobs=self.jobs,
                on_capacity=self.dispatcher.capacity_changed,
                heartbeat_s=self.heartbeat_s,
                upload=self.upload,
            )
            self.directory.add(known)
        return known

    def submit(self, job: Job) -> None:
        """Take in *job* and give it to an agent when one has room; does not store it."""
        self.jobs.add(job)
        self.dispatcher.submit(job)

    def with_files(self, job: Job) -> Job:
        """Give a job that came from the store its content and log as far as they are here."""
        if job.kept and job.content is None and job.size is not None:
            job.content = self.shelf.content(job)
            if job.has_ended:
                job.content.settle(complete=job.state == Outcome.SUCCEEDED)
        if job.log is None:
            job.log = self.shelf.log(job)
        return job

    async def take_up(self) -> None:
        """Go on with what an earlier process left open."""
        await self.jobs.load()
        for job in list(self.jobs.open.values()):
            if job.state == "queued":
                self.dispatcher.submit(job)
            elif not job.kept:
                text = "the control plane was restarted, and keeps no such content"
                self.jobs.end(job, Outcome.FAILED, reason=Reason.TRUNCATED, message=text)
            else:
                self._adopt(job)

    async def close(self) -> None:
        """Store what came in, and let go of the files."""
        await self.writer.close()
        await self.store.close()
        if self.recorder is not None:
            self.recorder.close()

    def _adopt(self, job: Job) -> None:
        if job.size is None:
            # Blocks that came in before their announcement was stored can't be told from others.
            self.shelf.discard(job)
        self.with_files(job)
        self.instance(job.agent or "", job.instance or "").open[job.id] = job


def open_plane(
    directory: Path,
    *,
    spool_limit: int,
    record_frames: Path | None,
    heartbeat_s: float = 15.0,
    upload: UploadOffer | None = None,
) -> ControlPlane:
    """Open or create the state in *directory*; waits for the disk.

    Raises:
        OSError: The directory or the recording can't be written.
        ValueError: The state was written by another version.
    """
    for name in ("content", "logs"):
        (directory / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store(directory / "control-plane.db")
    jobs, writer, agents = Jobs(store), Writer(), Directory()
    shelf = Shelf(directory, writer, spool_limit)
    dispatcher = Dispatcher(jobs, agents)
    return ControlPlane(
        store=store,
        jobs=jobs,
        writer=writer,
        shelf=shelf,
        directory=agents,
        dispatcher=dispatcher,
        inbox=Inbox(jobs, shelf, requeue=dispatcher.requeue),
        faults=Faults(),
        recorder=Recorder(record_frames) if record_frames else None,
        heartbeat_s=heartbeat_s,
        upload=upload,
    )
