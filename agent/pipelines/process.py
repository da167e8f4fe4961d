"""Runs pipelines that are local commands, each below a supervisor that outlives the agent.

What a supervisor does is in `supervisor`, what it leaves on disk in `run_directory`.
"""

import asyncio
import os
import pwd
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from agent.errors import NotFound, PipelineFailed
from agent.pipelines.base import LogChunk, RunState, RunStatus
from agent.pipelines.launch import START_DEADLINE, launch
from agent.pipelines.log_reader import read_log
from agent.pipelines.parameters import Command
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.supervisor import Orders
from agent.secret_reference import SecretReference
from agent.secrets.base import Held
from agent.telemetry.logs import get_logger

log = get_logger()

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KILL_DEADLINE = 30.0

# As for the reader of a log, only the files tell when the run has ended.
_STOP_PAUSE = 0.02

Hold = Callable[[Sequence[SecretReference], float], Awaitable[Held]]
"""Resolves references, for a run that may last so many seconds."""


@dataclass(frozen=True, slots=True)
class ProcessPipeline:
    """A pipeline that is a command. Times are in seconds, the limit of the log in bytes."""

    command: Command
    directory: Path
    timeout: float
    stop_grace: float
    log_limit: int
    plain_environment: Mapping[str, str] = field(default_factory=dict)
    secret_environment: Mapping[str, SecretReference] = field(default_factory=dict)


class ProcessRunner:
    """A `PipelineRunner` for local commands.

    A pipeline sees PATH, HOME, LANG, CLOUD_AGENT_RUN_ID and what is configured, and nothing of the
    agent's environment. Its output loses the secrets of that environment before it is written. When
    its main process has ended by itself, whatever that left behind is killed.
    """

    def __init__(
        self,
        pipelines: Mapping[str, ProcessPipeline],
        *,
        directories: RunDirectories,
        hold: Hold,
    ) -> None:
        self._pipelines = dict(pipelines)
        self._directories = directories
        self._hold = hold

    def __repr__(self) -> str:
        return f"<ProcessRunner pipelines={sorted(self._pipelines)}>"

    async def start(
        self, *, run: str, pipeline: str, parameters: Mapping[str, JsonValue]
    ) -> RunStatus:
        if status := await asyncio.to_thread(self._known, run):
            return status
        if pipeline not in self._pipelines:
            raise NotFound("there is no such pipeline")
        settings = self._pipelines[pipeline]
        argv = await asyncio.to_thread(settings.command.filled, parameters)
        references = settings.secret_environment
        longest = settings.timeout + settings.stop_grace
        held = await self._hold(list(references.values()), longest)
        secrets = {
            name: secret.reveal() for name, secret in zip(references, held.secrets, strict=True)
        }
        ended = partial(_call_in, asyncio.get_running_loop(), held.release)
        # The thread goes on when we are cancelled: a start is never left half-way.
        return await asyncio.to_thread(self._start, run, pipeline, argv, secrets, ended)

    async def status(self, run: str) -> RunStatus:
        return await asyncio.to_thread(self._status, run)

    async def log(self, run: str, *, offset: int = 0, follow: bool) -> AsyncGenerator[LogChunk]:
        directory = await asyncio.to_thread(self._directories.find, run)
        async for chunk in read_log(directory, offset=offset, follow=follow):
            yield chunk

    async def stop(self, run: str) -> RunStatus:
        status = await self.status(run)
        asked = False
        settings = self._pipelines.get(status.pipeline)
        grace = settings.stop_grace if settings else 0.0
        try:
            async with asyncio.timeout(START_DEADLINE + grace + KILL_DEADLINE):
                while not status.state.ended:
                    asked = asked or await asyncio.to_thread(self._ask_to_stop, run)
                    await asyncio.sleep(_STOP_PAUSE)
                    status = await self.status(run)
        except TimeoutError:
            raise PipelineFailed("the run does not end", detail=f"run {run}") from None
        return status

    async def close(self) -> None:
        """Nothing is held: a run needs its supervisor and its directory, not us."""

    def _known(self, run: str) -> RunStatus | None:
        try:
            status = self._directories.find(run).status()
        except (NotFound, FileNotFoundError):
            return None
        # Who is about to start it may die before that, and then it is our turn.
        return None if status and status.state is RunState.STARTING else status

    def _status(self, run: str) -> RunStatus:
        try:
            status = self._directories.find(run).status()
        except FileNotFoundError:
            status = None
        if status is None:
            raise NotFound("there is no such run")
        return status

    def _start(
        self,
        run: str,
        pipeline: str,
        argv: list[str],
        secrets: Mapping[str, str],
        ended: Callable[[], None],
    ) -> RunStatus:
        """Start the run unless somebody did; call *ended* when ours is over, or is none."""
        with ExitStack() as unless_started:
            unless_started.callback(ended)
            self._prune()
            orders = self._orders(run, pipeline, argv, secrets)
            try:
                directory, lock = self._directories.claim(run, pipeline, patience=START_DEADLINE)
            except OSError as failure:
                raise PipelineFailed("the run can't be recorded", detail=str(failure)) from None
            if lock is not None:
                launch(directory, lock, orders, ended=ended)
                unless_started.pop_all()
                log.info("run.started", run=run, pipeline=pipeline)
        return self._status(run)

    def _orders(
        self, run: str, pipeline: str, argv: list[str], secrets: Mapping[str, str]
    ) -> Orders:
        settings = self._pipelines[pipeline]
        environment = {
            "PATH": PATH,
            "HOME": _home(),
            "LANG": "C.UTF-8",
            **settings.plain_environment,
            **secrets,
            "CLOUD_AGENT_RUN_ID": run,
        }
        return Orders(
            argv=argv,
            environment=environment,
            directory=str(settings.directory),
            timeout=settings.timeout,
            stop_grace=settings.stop_grace,
            log_limit=settings.log_limit,
            secrets=list(secrets.values()),
        )

    def _prune(self) -> None:
        try:
            self._directories.prune()
        except OSError as failure:  # It costs disk, which is no reason not to start.
            log.warning("runs.not_pruned", error=failure)

    def _ask_to_stop(self, run: str) -> bool:
        """Send the supervisor its signal; False when it is too early for that."""
        directory = self._directories.find(run)
        # A directory where nothing was started may have known another supervisor before this one.
        pid = directory.supervisor() if directory.started() else None
        if pid is None:
            return False
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            # Held after we got hold of the process: it is the supervisor, its number not reused.
            if directory.locked():
                signal.pidfd_send_signal(process, signal.SIGTERM)
                return True
        finally:
            os.close(process)
        return False


def _call_in(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # It is closed: the run outlived us.
        loop.call_soon_threadsafe(work)


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # In a container the user often has no name.
        return "/"
