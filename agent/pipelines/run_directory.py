"""What one run of a process leaves on disk, and what that says about it.

The agent and the supervisor of the run both use this, so it is standard library only. Making and
removing these directories is `run_directories`' part.

    meta      which pipeline this is a run of; always there
    lock      flocked from before the start to the end, by the agent first, then by the supervisor
    pid       of the supervisor; to be trusted only while the lock is held
    started   written before the pipeline is: without it, no pipeline was ever started here
    log       what the pipeline wrote, redacted
    exit      how it ended; written once, whole

`exit` is there: ended. Lock held: at work. `started` without `exit`, lock free: the supervisor was
killed, and how the run ended is unknown. Lock free and no `started`: it never was, nor will be by a
process of the past, so whoever gets the lock may start it.
"""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.pipelines.base import RunState, RunStatus


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended; *error* says why it could not be started at all."""

    state: RunState
    exit_code: int | None = None
    error: str | None = None


class RunDirectory:
    """The directory of one run. All methods are quick file work; safe for concurrent use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<RunDirectory {self.path.name}>"

    @property
    def log(self) -> Path:
        """The file with what the pipeline wrote; absent until it has been started."""
        return self.path / "log"

    @property
    def supervisor_errors(self) -> Path:
        """The file with what the supervisor itself had to say; empty unless it failed."""
        return self.path / "supervisor.err"

    def pipeline(self) -> str:
        """Return the name of the pipeline. Raises FileNotFoundError when there is no such run."""
        return str(json.loads((self.path / "meta").read_bytes())["pipeline"])

    def prepare(self, pipeline: str) -> int:
        """Make this empty directory that of a run of *pipeline*; return the lock, held."""
        self.write_pipeline(pipeline)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock

    def write_pipeline(self, pipeline: str) -> None:
        """Say which pipeline this is a run of."""
        self._write("meta", {"pipeline": pipeline})

    def status(self) -> RunStatus | None:
        """Return where the run stands; None when it was never started and nobody is about to.

        Raises FileNotFoundError when there is no such run.
        """
        state = self._state()
        if state is None:
            return None
        return RunStatus(self.path.name, self.pipeline(), state.state, state.exit_code)

    def _state(self) -> Ending | None:
        if ending := self.ending():
            return ending
        if self.locked():
            return Ending(RunState.RUNNING if self.started() else RunState.STARTING)
        # It may have ended between the two looks.
        return self.ending() or (Ending(RunState.UNKNOWN) if self.started() else None)

    def ending(self) -> Ending | None:
        """Return how the run ended, if it did and that is known."""
        try:
            content = json.loads((self.path / "exit").read_bytes())
        except FileNotFoundError:
            return None
        return Ending(RunState(content["state"]), content["exit_code"], content["error"])

    def write_ending(self, ending: Ending) -> None:
        """Record how the run ended; on disk when this returns."""
        self._write("exit", asdict(ending))

    def started(self) -> bool:
        """Whether a pipeline was, or was just about to be, started here."""
        return (self.path / "started").exists()

    def mark_started(self) -> None:
        """Record that the pipeline is started next; on disk when this returns."""
        self._write("started", {})

    def supervisor(self) -> int | None:
        """Return the process id of the supervisor; another's, unless the lock is held."""
        with suppress(FileNotFoundError):
            return int(json.loads((self.path / "pid").read_bytes())["pid"])
        return None

    def write_supervisor(self, pid: int) -> None:
        """Record which process to signal to stop the run."""
        self._write("pid", {"pid": pid})

    def locked(self) -> bool:
        """Whether somebody starts or supervises this run, or is just removing it.

        Asking takes a shared lock for a moment, so `try_lock` may fail because of it.
        """
        lock = self._open_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def try_lock(self) -> int | None:
        """Return a file descriptor that holds the lock until its last copy is closed, or None.

        Raises FileNotFoundError when the run was removed meanwhile.
        """
        lock = self._open_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(self.path / "lock")):
                return lock
            os.close(lock)
        except OSError as failure:
            os.close(lock)
            if not isinstance(failure, BlockingIOError):
                raise
        return None

    def _open_lock(self) -> int:
        return os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)

    def _write(self, name: str, content: object) -> None:
        """Write a file so that it is there whole or not at all, and survives a power cut."""
        unfinished = self.path / f".{name}.{os.getpid()}"
        with open(unfinished, "wb", opener=private) as file:
            file.write(json.dumps(content).encode())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self.path / name)
        sync_directory(self.path)


def private(path: str, flags: int) -> int:
    """Open *path* for nobody else; an opener for `open`."""
    return os.open(path, flags, 0o600)


def sync_directory(path: Path) -> None:
    """Make the names in *path* survive a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
