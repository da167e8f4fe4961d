"""What a run of the cluster leaves on disk, beside what every run does, and what that says.

    job       which Job this is, and when it was asked for; written before it is
    started   the cluster has taken the Job
    cursor    how much of `log` counts, and what of the pods' logs that is
    state     what was seen of the run last
    stop      how the run is to end that is being ended by us; the first who says so is right
    exit      how it ended
    lock      held by whoever starts the run or follows it; by nobody while no agent is at work

Bytes of `log` beyond what the cursor counts were written by an agent that was killed then: nobody
was shown them, and they are written anew.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.pipelines.base import RunState, RunStatus
from agent.pipelines.kubernetes.log_lines import Place, Tally
from agent.pipelines.run_directory import Ending, RunDirectory, private, sync_directory


@dataclass(frozen=True, slots=True)
class Asked:
    """The Job of a run; *at* is by the agent's clock, and *uid* is empty until the Job is there."""

    namespace: str
    name: str
    digest: str
    at: float
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """*length* bytes of the log are good. They hold the logs of the pods *done*, and of *pod* up to
    *place*; *cut* when the log has reached its limit, *open_line* when its last line has no end.
    """

    length: int = 0
    pod: str = ""
    place: Place = field(default_factory=Place)
    done: tuple[str, ...] = ()
    cut: bool = False
    open_line: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the run stood; *why* says what it waits for."""

    state: RunState = RunState.STARTING
    why: str | None = None


class Record:
    """The directory of one run. All methods are quick file work; safe for concurrent use, but for
    `append` and `recover`, which are for the holder of the lock.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory

    @property
    def run(self) -> str:
        """The run's name."""
        return self.directory.path.name

    def asked(self) -> Asked | None:
        """Return which Job was asked for, if any was."""
        content = self._read("job")
        return Asked(**content) if content else None

    def write_asked(self, asked: Asked) -> None:
        """Record which Job is asked for next; on disk when this returns."""
        self._write("job", asdict(asked))

    def forget_asked(self) -> None:
        """Record that the cluster did not take the Job."""
        with suppress(FileNotFoundError):
            (self.directory.path / "job").unlink()

    def status(self) -> RunStatus:
        """Return where the run stands, as far as it was seen."""
        ending = self.directory.ending()
        pipeline = self.directory.pipeline()
        if ending is not None:
            return RunStatus(self.run, pipeline, ending.state, ending.exit_code, ending.error)
        seen = self.seen()
        return RunStatus(self.run, pipeline, seen.state, reason=seen.why)

    def seen(self) -> Seen:
        """Return what was seen of the run last."""
        content = self._read("state")
        return Seen(RunState(content["state"]), content["why"]) if content else Seen()

    def write_seen(self, seen: Seen) -> None:
        """Record what was seen of the run."""
        self._write("state", asdict(seen))

    def stopping(self) -> Ending | None:
        """Return how the run is to end, if it is being ended."""
        content = self._read("stop")
        return Ending(RunState(content["state"]), None, content["error"]) if content else None

    def write_stopping(self, ending: Ending) -> None:
        """Record how the run is to end, unless that stands there already."""
        unfinished = self._unfinished("stop", asdict(ending))
        with suppress(FileExistsError):
            os.link(unfinished, self.directory.path / "stop")
        os.unlink(unfinished)
        sync_directory(self.directory.path)

    def cursor(self) -> Cursor:
        """Return how much of the log counts."""
        content = self._read("cursor")
        if not content:
            return Cursor()
        place, done = content.pop("place"), tuple(content.pop("done"))
        before, now = Tally(**place["before"]), Tally(**place["now"])
        return Cursor(**content, place=Place(place["latest"], before, now), done=done)

    def recover(self) -> Cursor:
        """Cut off what does not count; return where to go on."""
        cursor = self.cursor()
        with open(self.directory.log, "ab", opener=private) as file:
            file.truncate(cursor.length)
        return cursor

    def append(self, text: bytes, cursor: Cursor) -> None:
        """Append *text* and let it count; both are on disk when this returns."""
        with open(self.directory.log, "ab", opener=private) as file:
            file.write(text)
            file.flush()
            os.fdatasync(file.fileno())
        self._write("cursor", asdict(cursor))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.directory.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file so that it is there whole or not at all, and survives a power cut."""
        os.replace(self._unfinished(name, content), self.directory.path / name)
        sync_directory(self.directory.path)

    def _unfinished(self, name: str, content: Mapping[str, Any]) -> str:
        path = f"{self.directory.path}/.{name}.{os.getpid()}.{id(self)}"
        with open(path, "wb", opener=private) as file:
            file.write(json.dumps(content).encode())
            file.flush()
            os.fsync(file.fileno())
        return path
