"""Who may start a run, what its directory says, and when it is removed."""

import os
import time
from pathlib import Path

import pytest

from agent.errors import NotFound
from agent.pipelines import run_directories
from agent.pipelines.base import RunState
from agent.pipelines.run_directories import RunDirectories
from agent.pipelines.run_directory import Ending, RunDirectory

DAY = 86400.0


@pytest.fixture
def runs(tmp_path: Path) -> RunDirectories:
    return RunDirectories(tmp_path / "runs")


def claim(runs: RunDirectories, run: str = "run") -> tuple[RunDirectory, int]:
    directory, lock = runs.claim(run, "it", patience=5)
    assert lock is not None
    return directory, lock


def finished(runs: RunDirectories, run: str, *, age: float) -> RunDirectory:
    directory, lock = claim(runs, run)
    directory.mark_started()
    directory.write_ending(Ending(RunState.SUCCEEDED, 0))
    os.close(lock)
    changed = time.time() - age
    os.utime(directory.path, (changed, changed))
    return directory


def test_the_states_of_a_directory(runs: RunDirectories):
    """Each mark changes what is known, in the order in which they are made."""
    directory, lock = claim(runs)
    states = [directory.status()]
    directory.mark_started()
    states.append(directory.status())
    directory.write_ending(Ending(RunState.FAILED, 3))
    states.append(directory.status())
    os.close(lock)

    assert [RunState.STARTING, RunState.RUNNING, RunState.FAILED] == [
        status.state for status in states if status
    ]


def test_a_free_lock_tells_of_a_death(runs: RunDirectories):
    """Before the mark nothing was started, after it the end is unknown."""
    directory, lock = claim(runs)
    os.close(lock)
    assert directory.status() is None

    _, lock = claim(runs)
    directory.mark_started()
    os.close(lock)

    status = directory.status()
    assert status is not None
    assert RunState.UNKNOWN == status.state


def test_only_one_may_start_it(runs: RunDirectories):
    """The other waits, and gives up after its patience."""
    _, lock = claim(runs)

    assert runs.claim("run", "it", patience=0.05)[1] is None

    os.close(lock)
    _, lock = claim(runs)
    os.close(lock)


def test_asking_does_not_get_in_the_way(runs: RunDirectories):
    """Whoever asks for the state takes no lock that lasts."""
    directory, lock = claim(runs)
    os.close(lock)
    assert not directory.locked()
    assert not directory.locked()

    _, lock = claim(runs)

    assert directory.locked()
    os.close(lock)


def test_a_started_name_is_used_up(runs: RunDirectories):
    finished(runs, "run", age=0)

    assert runs.claim("run", "it", patience=5)[1] is None


def test_a_run_that_never_started_may_change_its_pipeline(runs: RunDirectories):
    _, lock = claim(runs)
    os.close(lock)

    _, lock2 = runs.claim("run", "other", patience=5)

    assert "other" == runs.pipeline_of("run")
    assert lock2 is not None
    os.close(lock2)


def test_old_runs_are_removed(runs: RunDirectories):
    old = finished(runs, "old", age=8 * DAY)
    young = finished(runs, "young", age=6 * DAY)

    runs.prune()

    assert not old.path.exists()
    assert RunState.SUCCEEDED == young.status().state


def test_many_runs_are_removed_oldest_first(runs: RunDirectories, monkeypatch):
    """But none of the last hour, however many there are."""
    monkeypatch.setattr(run_directories, "KEEP_RUNS", 2)
    for hours in (0.1, 0.2, 0.3, 2, 3):
        finished(runs, f"r{hours}", age=hours * 3600)

    runs.prune()

    assert ["r0.1", "r0.2", "r0.3"] == sorted(path.name for path in runs._root.iterdir())


def test_a_run_at_work_is_never_removed(runs: RunDirectories):
    directory, lock = claim(runs)
    os.utime(directory.path, (0, 0))

    runs.prune()

    assert directory.path.exists()
    os.close(lock)


def test_leftovers_of_killed_processes_are_removed(runs: RunDirectories):
    finished(runs, "run", age=0)
    leftover = runs._root / ".new-abc"
    leftover.mkdir()
    (leftover / "lock").touch()
    os.utime(leftover, (0, 0))

    runs.prune()

    assert ["run"] == [path.name for path in runs._root.iterdir()]


def test_a_lock_of_a_removed_directory_is_no_lock(runs: RunDirectories, monkeypatch):
    """Somebody opens the lock, the run is removed and made anew, and only then they lock it."""
    directory, lock = claim(runs)
    os.close(lock)
    stale = os.open(directory.path / "lock", os.O_RDWR)
    os.utime(directory.path, (0, 0))
    runs.prune()
    _, lock = claim(runs)
    monkeypatch.setattr(RunDirectory, "_open_lock", lambda _: stale)

    assert directory.try_lock() is None
    os.close(lock)


def test_an_unknown_run_has_no_pipeline(runs: RunDirectories):
    for name in ("run", "../runs", ""):
        with pytest.raises(NotFound):
            runs.pipeline_of(name)
