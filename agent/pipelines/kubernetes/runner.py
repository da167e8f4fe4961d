"""Runs pipelines as Jobs of a cluster, which outlive the agent; how one is followed is `follower`'s
part, what is kept of it on disk `record`'s.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from agent.clouds.kubernetes.wire import Wire
from agent.errors import JobError, NotFound, PipelineFailed, Reason, StoreUnavailable
from agent.guard.redaction import Redactor
from agent.pipelines.base import LogChunk, RunState, RunStatus
from agent.pipelines.kubernetes import reasons
from agent.pipelines.kubernetes.cluster import Cluster
from agent.pipelines.kubernetes.follower import Follower, Rules, Times
from agent.pipelines.kubernetes.log_reader import read_log
from agent.pipelines.kubernetes.manifest import DIGEST, RUN, Manifest
from agent.pipelines.kubernetes.record import Asked, Record, Seen
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.run_directory import Ending, RunDirectory
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.secrets.base import Held
from agent.telemetry.logs import get_logger

log = get_logger()

Object = dict[str, Any]

START_DEADLINE = 60.0
KILL_DEADLINE = 60.0
_CLAIM_PATIENCE = 0.001
_PAUSE = 0.02

Hold = Callable[[Sequence[SecretReference], float], Awaitable[Held]]


class Conflict(JobError):
    """The name of the run is taken by one that is another."""

    reason = Reason.DUPLICATE_CONFLICT
    default = "the cluster has a Job of this name that was asked for otherwise"


@dataclass(frozen=True, slots=True)
class KubernetesPipeline:
    """A pipeline that is a Job. Times are in seconds, the limit of the log in bytes."""

    manifest: Manifest
    wire: Wire
    namespace: str | None
    start_timeout: float
    log_limit: int

    @property
    def cluster(self) -> Cluster:
        """Where its Jobs are."""
        return Cluster(self.wire, self.namespace or self.manifest.namespace)

    @property
    def longest(self) -> float:
        """How long the secrets of a run may be needed."""
        return self.start_timeout + self.manifest.timeout + self.manifest.stop_grace


class KubernetesRunner:
    """A `PipelineRunner` for Jobs.

    The Job's name comes of the run's alone, so that of two starts one makes it and the other finds
    it. While this agent is at work it follows the runs that it started or was asked after; what it
    has read of their logs stays when their pods are gone.
    """

    def __init__(
        self,
        pipelines: Mapping[str, KubernetesPipeline],
        *,
        directories: RunDirectories,
        hold: Hold,
        on_close: Sequence[Callable[[], Awaitable[None]]] = (),
        times: Times | None = None,
    ) -> None:
        self._pipelines = dict(pipelines)
        self._directories = directories
        self._hold = hold
        self._on_close = on_close
        self._times = times or Times()
        self._followers: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<KubernetesRunner pipelines={sorted(self._pipelines)}>"

    async def start(
        self, *, run: str, pipeline: str, parameters: Mapping[str, JsonValue]
    ) -> RunStatus:
        if record := await asyncio.to_thread(self._started, run):
            return await self._attended(record)
        if pipeline not in self._pipelines:
            raise NotFound("there is no such pipeline")
        settings = self._pipelines[pipeline]
        job = await asyncio.to_thread(settings.manifest.job, run, parameters)
        held = await self._hold(settings.manifest.references, settings.longest)
        with ExitStack() as unless_followed:
            unless_followed.callback(held.release)
            record, lock = await self._claimed(run, pipeline)
            if lock is not None:
                unless_followed.callback(os.close, lock)
                asked = await self._create(settings, record, job, held)
                unless_followed.pop_all()
                self._follow(record, asked, settings, lock, held)
                log.info("run.started", run=run, pipeline=pipeline, name=asked.name)
        return await self._attended(record)

    async def status(self, run: str) -> RunStatus:
        return await self._attended(await asyncio.to_thread(self._known, run))

    async def log(self, run: str, *, offset: int = 0, follow: bool) -> AsyncGenerator[LogChunk]:
        record = await asyncio.to_thread(self._known, run)
        await self._attended(record)

        async def attend() -> None:
            await self._attend(record)

        async for chunk in read_log(record, offset=offset, follow=follow, attend=attend):
            yield chunk

    async def stop(self, run: str) -> RunStatus:
        record = await asyncio.to_thread(self._known, run)
        status = await self._attended(record)
        settings = self._settings(record)
        if not status.state.ended:
            await asyncio.to_thread(record.write_stopping, Ending(RunState.STOPPED))
        deleted = False
        try:
            async with asyncio.timeout(
                START_DEADLINE + settings.manifest.stop_grace + KILL_DEADLINE
            ):
                while not status.state.ended:
                    deleted = deleted or await self._delete(record, settings)
                    await asyncio.sleep(_PAUSE)
                    status = await self._attended(record)
        except TimeoutError:
            raise PipelineFailed("the run does not end", detail=f"run {run}") from None
        return status

    async def close(self) -> None:
        """Leave the Jobs to the cluster, and what is to follow to the next agent."""
        followers = list(self._followers.values())
        for task in followers:
            task.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        for close in self._on_close:
            await close()

    def _settings(self, record: Record) -> KubernetesPipeline:
        settings = self._pipelines.get(record.directory.pipeline())
        if settings is None:
            raise NotFound("there is no such pipeline")
        return settings

    def _known(self, run: str) -> Record:
        """Return the record of a run that was asked for, or is just about to be."""
        record = Record(self._directories.find(run))
        try:
            if record.asked() or record.directory.started() or record.directory.locked():
                return record
        except FileNotFoundError:
            pass
        raise NotFound("there is no such run")

    def _started(self, run: str) -> Record | None:
        try:
            record = Record(self._directories.find(run))
        except NotFound:
            return None
        return record if record.directory.started() else None

    async def _claimed(self, run: str, pipeline: str) -> tuple[Record, int | None]:
        """Return the lock if it is for us to start the run, None when somebody has.

        Waits in between without a thread, of which there are few.
        """
        await asyncio.to_thread(self._prune)
        give_up_at = time.monotonic() + START_DEADLINE
        while time.monotonic() < give_up_at:
            directory, lock = await asyncio.to_thread(self._claim, run, pipeline)
            if lock is not None or await asyncio.to_thread(directory.started):
                return Record(directory), lock
            await asyncio.sleep(_PAUSE)
        raise PipelineFailed("the run is being started by another agent, which does not end")

    def _claim(self, run: str, pipeline: str) -> tuple[RunDirectory, int | None]:
        try:
            return self._directories.claim(run, pipeline, patience=_CLAIM_PATIENCE)
        except OSError as failure:
            raise PipelineFailed("the run can't be recorded", detail=str(failure)) from None

    def _prune(self) -> None:
        try:
            self._directories.prune()
        except OSError as failure:  # It costs disk, which is no reason not to start.
            log.warning("runs.not_pruned", error=failure)

    async def _create(
        self, settings: KubernetesPipeline, record: Record, job: Object, held: Held
    ) -> Asked:
        """Make the Job and what belongs to it, or find them made by an agent that was killed."""
        cluster = settings.cluster
        namespace = await cluster.namespace()
        meta = job["metadata"]
        before = await asyncio.to_thread(record.asked)
        asked = before or Asked(namespace, meta["name"], meta["annotations"][DIGEST], time.time())
        if before and time.time() - before.at > settings.manifest.keep:
            # The Job may have been made then, have ended, and have been cleaned up.
            return await self._adopted(settings, record, asked) or await _taken(record, asked)
        await asyncio.to_thread(record.write_asked, asked)
        made = await self._made(cluster, record, job, asked)
        secret = settings.manifest.secret(made, held.secrets)
        if secret is not None:
            await cluster.create_secret(secret, asked.namespace)
        return await _taken(record, replace(asked, uid=made["metadata"]["uid"]))

    async def _made(self, cluster: Cluster, record: Record, job: Object, asked: Asked) -> Object:
        try:
            made = await cluster.create_job(job, asked.namespace)
        except StoreUnavailable:
            raise  # It may have been taken all the same; the next who asks will see.
        except JobError:
            await asyncio.to_thread(record.forget_asked)
            raise
        if made is not None:
            return made
        there = await cluster.job(asked.name, asked.namespace)
        annotations = (there or {}).get("metadata", {}).get("annotations") or {}
        wanted = job["metadata"]["annotations"]
        if there is None or any(annotations.get(key) != wanted[key] for key in (RUN, DIGEST)):
            raise Conflict(detail=f"Job {asked.name} in namespace {asked.namespace}")
        log.info("run.found", run=record.run, name=asked.name)
        return there

    async def _attended(self, record: Record) -> RunStatus:
        await self._attend(record)
        return await asyncio.to_thread(record.status)

    async def _attend(self, record: Record) -> None:
        """See to it that somebody follows the run, if there is anything to follow.

        Raises:
            NotFound: It was never started.
        """
        if record.run in self._followers:
            return
        if await asyncio.to_thread(record.directory.ending):
            return
        lock = await asyncio.to_thread(record.directory.try_lock)
        if lock is None:
            return
        with ExitStack() as unless_followed:
            unless_followed.callback(os.close, lock)
            asked = await asyncio.to_thread(record.asked)
            settings = await asyncio.to_thread(self._settings, record)
            if asked and not await asyncio.to_thread(record.directory.started):
                asked = await self._adopted(settings, record, asked)
            if asked is None:
                raise NotFound("there is no such run")
            if record.run not in self._followers:
                unless_followed.pop_all()
                self._follow(record, asked, settings, lock, None)

    async def _adopted(
        self, settings: KubernetesPipeline, record: Record, asked: Asked
    ) -> Asked | None:
        """Take over the Job that an agent made which was killed then, if it did make it."""
        job = await settings.cluster.job(asked.name, asked.namespace)
        annotations = (job or {}).get("metadata", {}).get("annotations") or {}
        if job is None or annotations.get(DIGEST) != asked.digest:
            return None
        return await _taken(record, replace(asked, uid=job["metadata"]["uid"]))

    async def _delete(self, record: Record, settings: KubernetesPipeline) -> bool:
        asked = await asyncio.to_thread(record.asked)
        if asked is None or not asked.uid:
            return False
        job = await settings.cluster.job(asked.name, asked.namespace)
        # One that has ended by itself is left: how it did is still to be seen.
        if job is not None and not reasons.is_over(job):
            await settings.cluster.delete_job(job, asked.namespace)
        return True

    def _follow(
        self,
        record: Record,
        asked: Asked,
        settings: KubernetesPipeline,
        lock: int,
        held: Held | None,
    ) -> None:
        following = self._followed(record, asked, settings, held)
        task = asyncio.create_task(following, name=f"follow.{record.run}")
        self._followers[record.run] = task

        def forget(ended: "asyncio.Task[None]") -> None:
            self._followers.pop(record.run, None)
            os.close(lock)
            if held is not None:  # It may have ended before it began.
                held.release()
            if not ended.cancelled() and (failure := ended.exception()):
                log.error("run.not_followed", run=record.run, error=failure, exc_info=failure)

        task.add_done_callback(forget)

    async def _followed(
        self,
        record: Record,
        asked: Asked,
        settings: KubernetesPipeline,
        held: Held | None,
    ) -> None:
        held = held or await self._held_again(record, settings)
        try:
            follower = Follower(
                settings.cluster,
                record,
                asked,
                Rules(settings.manifest.container, settings.start_timeout, settings.log_limit),
                redact=_redaction(held.secrets),
                times=self._times,
            )
            await follower.run()
        finally:
            held.release()

    async def _held_again(self, record: Record, settings: KubernetesPipeline) -> Held:
        """Hold the secrets of a run that another agent started: its log may show them."""
        while True:
            try:
                return await self._hold(settings.manifest.references, settings.longest)
            except JobError as failure:
                log.warning("run.unseen", run=record.run, error=failure, detail=failure.detail)
                await asyncio.to_thread(record.write_seen, Seen(record.seen().state, str(failure)))
                await asyncio.sleep(self._times.retry)


async def _taken(record: Record, asked: Asked) -> Asked:
    await asyncio.to_thread(record.write_asked, asked)
    await asyncio.to_thread(record.directory.mark_started)
    return asked


def _redaction(secrets: Sequence[Secret]) -> Callable[[bytes], bytes]:
    redactor = Redactor()
    for secret in secrets:
        redactor.register(secret.reveal())

    def redact(text: bytes) -> bytes:
        stream = redactor.byte_stream()
        return stream.feed(text) + stream.flush()

    return redact
