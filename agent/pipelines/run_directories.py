"""The directories of all runs: made, found and, long after, removed.

What stands in one of them is `run_directory`'s part.
"""

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent.errors import BadParameters, NotFound
from agent.pipelines.run_directory import RunDirectory, sync_directory

KEEP_RUNS = 1000
KEEP_SECONDS = 7 * 86400.0
KEEP_AT_LEAST_SECONDS = 3600.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# No run's name begins with a dot.
_BEING_MADE = ".new-"
_BEING_REMOVED = ".old-"
_CLAIM_PAUSE = 0.01


class RunDirectories:
    """All runs below one directory, which is made when it is first needed.

    All methods do file work and are for threads; safe for concurrent use, also by several
    processes. What is kept: everything younger than an hour, and of the rest at most 1000 runs,
    none older than seven days. After that a name is no longer known to have been used.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, run: str) -> RunDirectory:
        """Return the directory of *run*. Raises NotFound when it has none."""
        if _NAME.fullmatch(run) and (self._root / run).is_dir():
            return RunDirectory(self._root / run)
        raise NotFound("there is no such run")

    def pipeline_of(self, run: str) -> str:
        """Return which pipeline *run* is a run of. Raises NotFound when there is no such run."""
        try:
            return self.find(run).pipeline()
        except FileNotFoundError:
            raise NotFound("there is no such run") from None

    def claim(self, run: str, pipeline: str, *, patience: float) -> tuple[RunDirectory, int | None]:
        """Return the directory of *run* and the held lock, if the caller is the one to start it.

        The lock is None when the run has been started. Waits while somebody else is about to, at
        most *patience* seconds.

        Raises:
            BadParameters: *run* can't be the name of a run.
        """
        if not _NAME.fullmatch(run):
            raise BadParameters("this can't be the name of a run")
        directory = RunDirectory(self._root / run)
        give_up_at = time.monotonic() + patience
        while time.monotonic() < give_up_at:
            # It may be removed at any point, and is then made anew.
            with suppress(FileNotFoundError):
                if not directory.path.exists():
                    return directory, self._make(directory.path, pipeline)
                if directory.started():
                    break
                if (lock := directory.try_lock()) is not None:
                    return directory, _unless_started(directory, lock, pipeline)
            time.sleep(_CLAIM_PAUSE)
        return directory, None

    def _make(self, path: Path, pipeline: str) -> int:
        """Make a directory that is complete and locked from the moment on that it has its name.

        Raises FileNotFoundError when somebody else was faster.
        """
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        unnamed = RunDirectory(Path(tempfile.mkdtemp(prefix=_BEING_MADE, dir=self._root)))
        lock = unnamed.prepare(pipeline)
        try:
            unnamed.path.rename(path)
        except OSError as failure:
            os.close(lock)
            shutil.rmtree(unnamed.path)
            if failure.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise FileNotFoundError(path) from None
        sync_directory(self._root)
        return lock

    def prune(self) -> None:
        """Remove the runs that need not be kept any longer, except those at work."""
        now = time.time()
        ages = sorted((now - changed, path) for changed, path in self._changed())
        for rank, (age, path) in enumerate(ages):
            if age > KEEP_SECONDS or (rank >= KEEP_RUNS and age > KEEP_AT_LEAST_SECONDS):
                with suppress(FileNotFoundError):
                    self._remove(path)

    def _changed(self) -> Iterator[tuple[float, Path]]:
        """Yield each directory with the time of its last change, which for a run is its end."""
        with suppress(FileNotFoundError), os.scandir(self._root) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield entry.stat().st_mtime, Path(entry.path)

    def _remove(self, path: Path) -> None:
        if not _NAME.fullmatch(path.name):  # A leftover of a process that was killed.
            shutil.rmtree(path)
        elif (lock := RunDirectory(path).try_lock()) is not None:
            try:
                removed = path.rename(path.with_name(f"{_BEING_REMOVED}{path.name}"))
                shutil.rmtree(removed)
            finally:
                os.close(lock)


def _unless_started(directory: RunDirectory, lock: int, pipeline: str) -> int | None:
    try:
        if not directory.started():
            directory.write_pipeline(pipeline)
            return lock
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None
