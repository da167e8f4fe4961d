"""The process that starts one run of a pipeline, keeps its log, and sees it to its end.

It outlives the agent, which meets it again through the run's directory. Standard library only, so
that it starts at once and stays small. What the directory means is written in `run_directory`.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from agent.guard.redaction import Redactor
from agent.pipelines import process_tree
from agent.pipelines.base import RunState
from agent.pipelines.run_directory import Ending, RunDirectory
from agent.pipelines.run_log import RunLog

_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Orders:
    """What to run, and how. They reach the supervisor on its standard input: no secret is ever on a
    command line, in the supervisor's environment or on the disk.
    """

    argv: list[str]
    environment: dict[str, str] = field(repr=False)
    directory: str
    timeout: float
    stop_grace: float
    log_limit: int
    secrets: list[str] = field(repr=False)

    def to_json(self) -> bytes:
        """Return the orders as they are handed over."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Orders":
        """Read the orders. Raises ValueError when they are not complete."""
        return cls(**json.loads(text))


class Supervisor:
    """One run, from its start to its end. For one thread, and one instance in a process."""

    def __init__(self, orders: Orders, directory: RunDirectory) -> None:
        self._orders = orders
        self._directory = directory
        self._log = RunLog(
            directory.log, redaction=_redactor(orders).byte_stream(), limit=orders.log_limit
        )
        self._exit_code: int | None = None
        self._stop_asked = False
        self._cause: RunState | None = None
        self._kill_at = float("inf")

    def run(self) -> None:
        """Start the pipeline, report on standard output if that worked, and wait for its end."""
        wake = _wake_on_signals(self._ask_to_stop)
        self._directory.write_supervisor(os.getpid())
        self._directory.mark_started()
        try:
            output = self._start()
        except (OSError, ValueError, subprocess.SubprocessError) as failure:
            self._directory.write_ending(Ending(RunState.FAILED, error=str(failure)))
            _report(str(failure))
            return
        _report(None)
        self._watch(output, wake)
        self._end(output)

    def _start(self) -> int:
        output, end = os.pipe()
        os.set_blocking(output, False)
        try:
            # All descriptors are closed in it, above all the lock, which says that we are there.
            # We wait for it ourselves, but must keep it: as it is deleted, it waits for its child.
            self._process = subprocess.Popen(  # noqa: S603 - no shell; the customer wrote the command
                self._orders.argv,
                close_fds=True,
                cwd=self._orders.directory,
                env=self._orders.environment,
                stdin=subprocess.DEVNULL,
                stdout=end,
                stderr=end,
                process_group=0,
                preexec_fn=partial(process_tree.die_with, os.getpid()),
            )
        finally:
            os.close(end)
        return output

    def _watch(self, output: int, wake: int) -> None:
        """Move output to the log until the run is over, or has to be made to."""
        timeout_at = time.monotonic() + self._orders.timeout
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while not self._over() and time.monotonic() < self._kill_at:
            if self._stop_asked:
                self._interrupt(RunState.STOPPED)
            elif time.monotonic() >= timeout_at:
                self._interrupt(RunState.TIMED_OUT)
            next_time = self._kill_at if self._cause else timeout_at
            ready = dict(poll.poll(max(0, next_time - time.monotonic()) * 1000 + 1))
            if output in ready and not self._pump(output):
                poll.unregister(output)
            if wake in ready:
                os.read(wake, _BLOCK)
            for pid, code in process_tree.reap():
                self._note_end(pid, code)

    def _over(self) -> bool:
        # Who was asked to end may have left its children to it, as a shell does: they have their
        # grace as well. What a run leaves behind that ended by itself is killed at once.
        return self._exit_code is not None and (self._cause is None or process_tree.childless())

    def _interrupt(self, cause: RunState) -> None:
        """Ask the pipeline to end, the first time there is a cause to."""
        if self._cause is None:
            self._cause = cause
            self._kill_at = time.monotonic() + self._orders.stop_grace
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)

    def _pump(self, output: int) -> bool:
        """Move one block to the log; False when all writers have closed."""
        try:
            chunk = os.read(output, _BLOCK)
        except BlockingIOError:
            return True
        self._log.write(chunk)
        return bool(chunk)

    def _end(self, output: int) -> None:
        """Kill what is left of the process tree, save the rest of the output, record the end."""
        if self._exit_code is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        process_tree.kill_all(self._note_end)
        with suppress(BlockingIOError):
            while chunk := os.read(output, _BLOCK):
                self._log.write(chunk)
        self._log.close()
        state = self._cause or (RunState.FAILED if self._exit_code else RunState.SUCCEEDED)
        self._directory.write_ending(Ending(state, self._exit_code))

    def _note_end(self, pid: int, code: int) -> None:
        if pid == self._process.pid:
            self._exit_code = code

    def _ask_to_stop(self) -> None:
        self._stop_asked = True


def _redactor(orders: Orders) -> Redactor:
    redactor = Redactor()
    for secret in orders.secrets:
        redactor.register(secret)
    return redactor


def _wake_on_signals(stop: Callable[[], None]) -> int:
    """Return a file descriptor that can be read when a signal has arrived."""
    wake, end = os.pipe()
    for descriptor in (wake, end):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: stop())
    return wake


def _report(error: str | None) -> None:
    """Tell the agent, if it is still there, and let go of it."""
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), json.dumps({"error": error}).encode())
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def main() -> None:
    """Read the orders and carry them out, in the run's directory, which is the current one."""
    os.umask(0o077)
    process_tree.confine()
    orders = Orders.from_json(sys.stdin.buffer.read())
    Supervisor(orders, RunDirectory(Path.cwd())).run()


if __name__ == "__main__":
    main()
