"""Builds every part, owns the task group and the order of shutdown."""

import asyncio
import platform
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import structlog

from agent import egress, hardening
from agent.config.load import Loaded
from agent.config.settings import Settings
from agent.errors import LinkRefused, Unreachable, UsageError
from agent.guard.audit import AuditLog
from agent.guard.policy import Decision
from agent.guard.redaction import Redactor
from agent.identity import Identity, enrolled_at, remember_enrolment
from agent.jobs.admission import Admission
from agent.jobs.attempt import Surroundings
from agent.jobs.kinds import installed_kinds
from agent.jobs.runner import JobRunner
from agent.journal import Journal
from agent.link.backoff import Backoff
from agent.link.channel import Channel
from agent.link.dial import Endpoint
from agent.link.enrolment import enroll as enroll_at
from agent.link.enrolment import read_join_token
from agent.link.lanes import Lanes
from agent.link.link import Introduction, Link
from agent.link.uploads import Uploads
from agent.parts import Parts, PartsOfNow
from agent.protocol.messages import UPLOAD, AgentStatus
from agent.reloading import Reloading
from agent.secret import Secret
from agent.telemetry import logs, metrics
from agent.telemetry.health import HealthServer, Heart
from agent.version import VERSION

FLUSH_TIMEOUT = 10.0

log = logs.get_logger()


async def run(loaded: Loaded, reload: Callable[[], Loaded]) -> None:
    """Be the daemon until SIGTERM or SIGINT; the second signal ends without waiting for jobs.

    Raises:
        UsageError: Something in the configuration or the state directory has to be mended first.
        JournalFailed: The journal or the audit log is damaged.
    """
    hardening.forbid_inspection()
    hardening.keep_buffers_mapped()
    egress.guard()
    metrics.build_info.labels(VERSION, platform.python_version()).set(1)
    async with AsyncExitStack() as stack:
        daemon = Daemon(loaded, reload, stack)
        await daemon.run()


class Daemon:
    """The running agent. Built without I/O to the outside; what it opens, *stack* closes."""

    def __init__(self, loaded: Loaded, reload: Callable[[], Loaded], stack: AsyncExitStack) -> None:
        self._settings = settings = loaded.settings
        self._stack = stack
        self._redactor = Redactor()
        self._configure_logs(settings)
        state_dir = settings.agent.state_dir
        self._identity = Identity.load_or_create(state_dir, settings.agent.name)
        _require_way_in(settings)
        self._journal = Journal.open(state_dir / "journal.db")
        stack.callback(self._journal.close)
        audit_file = settings.audit.file or state_dir / "audit.jsonl"
        self._audit = AuditLog.open(audit_file, redact=counted(self._redactor, "audit"))
        stack.callback(self._audit.close)
        self._parts = PartsOfNow(self._open_parts(settings))
        stack.push_async_callback(self._parts.close)
        self._kinds = installed_kinds()
        self._channel = Channel()
        self._uploads = Uploads(
            endpoint(settings),
            self._identity,
            version=VERSION,
            upload_from=settings.control_plane.upload_from,
            segment_bytes=self._parts.segment_bytes,
            backoff=lambda: _backoff(settings),
        )
        stack.callback(self._uploads.close)
        self._link = Link(
            endpoint(settings),
            self._identity,
            channel=self._channel,
            uploads=self._uploads,
            introduction=self._introduction,
            backoff=_backoff(settings),
        )
        self._reloading = Reloading(
            loaded.path, reload, apply=self._apply, tidy=self._parts.close_unused
        )
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()

    async def run(self) -> None:
        """Work until stopped, then: take no more, finish the work, deliver it, hang up."""
        heart = Heart()
        listen = self._settings.telemetry.listen
        if listen is not None:
            health = HealthServer(listen, heart=heart, ready=self._ready)
            await self._stack.enter_async_context(health)
        async with asyncio.TaskGroup() as tasks:
            self._catch_signals()
            hardening.spare_the_collector()
            runner = self._runner(tasks)
            services = [
                tasks.create_task(heart.run(), name="heart"),
                tasks.create_task(self._stay_connected(runner), name="link"),
                tasks.create_task(self._reloading.run(self._settings), name="reloading"),
            ]
            await self._stop.wait()
            await self._wind_down(runner)
            for task in (*services, *runner.tasks):
                task.cancel()
        log.info("agent.stopped")

    def _runner(self, tasks: asyncio.TaskGroup) -> JobRunner:
        around = Surroundings(
            admission=Admission(self._kinds, self._decided),
            tools=self._parts.lend,
            journal=self._journal,
            audit=self._audit,
            outbox=Lanes(self._channel, self._uploads),
            redact=counted(self._redactor, "frame"),
            spawn=lambda work, name: tasks.create_task(work, name=name),
        )
        return JobRunner(around, limit=lambda: self._settings.agent.max_concurrent_jobs)

    async def _wind_down(self, runner: JobRunner) -> None:
        deadline = self._settings.agent.drain_deadline
        log.info("agent.draining", deadline=deadline)
        self._link.draining = True
        self._channel.post(AgentStatus(draining=True, max_concurrent_jobs=0))
        await self._unless_stopped_now(runner.drain(deadline))
        if self._link.up:
            await self._unless_stopped_now(_within(FLUSH_TIMEOUT, self._channel.flushed()))

    async def _unless_stopped_now(self, work: Coroutine[Any, Any, None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            both = tasks.create_task(work), tasks.create_task(self._stop_now.wait())
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()

    async def _stay_connected(self, runner: JobRunner) -> None:
        settings = self._settings
        if enrolled_at(settings.agent.state_dir) != settings.control_plane.url:
            await self._enroll_patiently(_backoff(settings))
        await self._link.run(runner)

    async def _enroll_patiently(self, backoff: Backoff) -> None:
        """Register the key, however long that takes; the token's file is read anew each time."""
        while True:
            try:
                await enroll(self._settings, self._settings.control_plane.join_token_file)
            except LinkRefused as exc:
                delay = backoff.delay(lasted=0, retry_after=exc.retry_after, final=exc.final)
                why = exc.reason
            except (Unreachable, UsageError) as exc:
                delay, why = backoff.delay(lasted=0), str(exc)
            else:
                return
            self._link.last_refusal = "not_enrolled"
            log.error("enrolment.failed", why=why, retry_in=round(delay, 2))
            await asyncio.sleep(delay)

    def _ready(self) -> tuple[bool, str]:
        """Say whether this instance can take jobs, and if not why, in one fixed word."""
        if self._journal.failed or self._audit.failed:
            return False, "journal_failed"
        if self._link.draining:
            return False, "draining"
        if not self._link.up:
            return False, "not_connected"
        return True, "ready"

    def _introduction(self) -> Introduction:
        return Introduction(
            version=VERSION,
            labels=self._settings.agent.labels,
            capabilities=[
                *(f"job:{name}" for name in self._kinds),
                *([UPLOAD] if self._uploads.enabled else []),
            ],
            max_concurrent_jobs=self._settings.agent.max_concurrent_jobs,
        )

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reloading.ask)

    def _on_stop(self) -> None:
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    def _apply(self, settings: Settings) -> None:
        """Put *settings* in force for new jobs."""
        parts = self._open_parts(settings)
        self._configure_logs(settings)
        self._settings = settings
        self._parts.replace(parts)
        limit = settings.agent.max_concurrent_jobs
        self._channel.post(AgentStatus(draining=False, max_concurrent_jobs=limit))

    def _open_parts(self, settings: Settings) -> Parts:
        return Parts.open(settings, on_secret=self._on_secret, on_use=self._on_use)

    def _configure_logs(self, settings: Settings) -> None:
        shape = settings.telemetry.log
        logs.configure(shape.level, shape.format, counted(self._redactor, "log"))

    def _on_secret(self, secret: Secret) -> None:
        self._redactor.register(secret.reveal())

    def _on_use(self, reference: str) -> None:
        job = structlog.contextvars.get_contextvars().get("job")
        self._audit.record("credential.used", job=job, reference=reference)

    def _decided(self, job: str, kind: str, decision: Decision) -> None:
        verdict = "allowed" if decision.allowed else "denied"
        metrics.policy_decisions.labels(kind, verdict).inc()
        self._audit.record(
            "job.decided",
            job=job,
            kind=kind,
            allowed=decision.allowed,
            rule=decision.rule,
            why=decision.why,
        )


async def enroll(settings: Settings, join_token_file: Path | None) -> str:
    """Make the agent's key, register its public half, return the instance's name.

    Raises:
        UsageError: There is no token file, or it or the state directory can't be used.
        LinkRefused: The control plane does not take the token.
        Unreachable: It could not be reached.
    """
    if join_token_file is None:
        raise UsageError("control_plane.join_token_file: needed for the first start")
    identity = Identity.load_or_create(settings.agent.state_dir, settings.agent.name)
    token = read_join_token(join_token_file)
    await enroll_at(endpoint(settings), identity, token, version=VERSION)
    remember_enrolment(settings.agent.state_dir, settings.control_plane.url)
    log.info("enrolment.done", instance=identity.instance)
    return identity.instance


def endpoint(settings: Settings) -> Endpoint:
    """Return where and how *settings* say to dial."""
    configured = settings.control_plane
    plain = Endpoint(configured.url, ca_file=configured.ca_file, proxy=configured.proxy)
    if configured.client_certificate is None:
        return plain
    certificate = configured.client_certificate
    return replace(plain, cert_file=certificate.cert_file, key_file=certificate.key_file)


def counted(redactor: Redactor, exit: Literal["audit", "frame", "log"]) -> Callable[[str], str]:
    """Return what redacts at this exit, and counts there the texts that it had to change."""
    changed = metrics.redactions.labels(exit)

    def redact(text: str) -> str:
        redacted = redactor.redact(text)
        if redacted is not text:
            changed.inc()
        return redacted

    return redact


def _backoff(settings: Settings) -> Backoff:
    configured = settings.control_plane.backoff
    return Backoff(configured.first, configured.longest, configured.stable_after)


def _require_way_in(settings: Settings) -> None:
    registered = enrolled_at(settings.agent.state_dir) == settings.control_plane.url
    if not registered and settings.control_plane.join_token_file is None:
        raise UsageError(
            f"this agent is not enrolled at {settings.control_plane.url} yet: have a join token "
            "made there, and name its file in control_plane.join_token_file"
        )


async def _within(seconds: float, work: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        log.warning("flush.incomplete", seconds=seconds)
