"""Starts a supervisor and hears if that could start its pipeline; the rest is its own part."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable

from agent.errors import PipelineFailed
from agent.pipelines.run_directory import RunDirectory, private
from agent.pipelines.supervisor import Orders

START_DEADLINE = 60.0
_LONGEST_DETAIL = 2000


def launch(
    directory: RunDirectory, lock: int, orders: Orders, *, ended: Callable[[], None]
) -> None:
    """Start a supervisor for *orders*, which takes over the *lock*; return when it has reported.

    Our copy of the lock is closed here, whatever happens. Waits at most `START_DEADLINE` seconds;
    after that the supervisor is killed, and the directory says how far it came. *ended* is called
    in a thread when a supervisor that was started has ended, unless we end before it.

    Raises:
        PipelineFailed: Supervisor or pipeline could not be started.
    """
    try:
        process = _spawn(directory, lock)
    except OSError as failure:
        raise _failed(str(failure)) from None
    finally:
        os.close(lock)
    # One small thread per run, so that no zombie stays behind: the supervisor may well be there
    # for days, and when we end before it, it is no longer our child.
    name = f"wait.{directory.path.name}"
    threading.Thread(target=_see_off, args=(process, ended), name=name, daemon=True).start()
    report = _handed_over(process, orders)
    if not report and not directory.started():
        errors = directory.supervisor_errors.read_text(errors="replace")
        raise _failed(f"its supervisor failed: {errors[-_LONGEST_DETAIL:]}")
    if report and (error := json.loads(report)["error"]):
        raise _failed(error)


def _see_off(process: subprocess.Popen[bytes], ended: Callable[[], None]) -> None:
    process.wait()
    ended()


def _spawn(directory: RunDirectory, lock: int) -> subprocess.Popen[bytes]:
    """Start the supervisor as isolated as Python offers it, in a session of its own."""
    name = directory.path.name
    with open(directory.supervisor_errors, "wb", opener=private) as errors:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-I", "-X", "utf8", "-m", "agent.pipelines.supervisor", name],
            cwd=directory.path,
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=(lock,),
            start_new_session=True,
        )


def _handed_over(process: subprocess.Popen[bytes], orders: Orders) -> bytes:
    """Hand over the orders and return the report, which is empty when there is none."""
    assert process.stdin is not None
    assert process.stdout is not None
    overdue = threading.Timer(START_DEADLINE, process.kill)
    overdue.start()
    try:
        with process.stdout, process.stdin:
            process.stdin.write(orders.to_json())
            process.stdin.close()
            return process.stdout.read()
    except BrokenPipeError:
        return b""
    finally:
        overdue.cancel()


def _failed(detail: str) -> PipelineFailed:
    return PipelineFailed("the pipeline could not be started", detail=detail)
