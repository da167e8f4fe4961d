"""Start a real server as a child process, and stop it for certain; no server is known by name."""

import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.waiting import wait_until

START_DEADLINE = 30.0
STOP_DEADLINE = 10.0
# SeaweedFS also opens each of its ports + 10000. Both ranges end below 32768, where the kernel
# starts to take the ports of outgoing connections.
PORTS = range(10240, 20240)
SECOND_PORT = 10000

Ready = int | Callable[[], object]


class Server:
    """A running child process, leader of its own process group."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """The process id of the group's leader."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the leader has not ended."""
        return self.process.poll() is None

    def log_tail(self, lines: int = 20) -> str:
        """The last *lines* of what the server wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the whole group, by SIGTERM and after 10 s by SIGKILL. Waits; idempotent."""
        if self.running:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_DEADLINE)
        self.kill()

    def kill(self) -> None:
        """End the whole group with SIGKILL, as a power cut would. Waits; idempotent."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def spawn(
    argv: Sequence[str | Path],
    *,
    ready: Ready,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    deadline: float = START_DEADLINE,
) -> Server:
    """Start *argv* and return when it is *ready*: its TCP port accepts, or the callable says so.

    Output goes to *log*, which is appended to. *env* replaces the environment. Waits at most
    *deadline* seconds.

    Raises:
        AssertionError: It ended or was not ready in time; the text shows the end of its log.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(argument) for argument in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    server = Server(str(argv[0]), process, log)
    try:
        is_ready = (lambda: accepts(ready)) if isinstance(ready, int) else ready
        _wait_until_ready(server, is_ready, deadline)
    except BaseException:
        server.kill()
        raise
    return server


def accepts(port: int) -> bool:
    """Whether something on 127.0.0.1 accepts TCP connections on *port*."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses, as well as that port + 10000; never the same twice."""
    return next(_free_ports)


def _wait_until_ready(server: Server, ready: Callable[[], object], deadline: float) -> None:
    try:
        wait_until(
            lambda: not server.running or ready(),
            timeout=deadline,
            message=f"{server.name} being ready",
        )
    except AssertionError as late:
        raise AssertionError(f"{late}; its log ends:\n{server.log_tail()}") from None
    if not server.running:
        code = server.process.returncode
        raise AssertionError(f"{server.name} ended with {code}; its log ends:\n{server.log_tail()}")


def _find_free_ports() -> Iterator[int]:
    # The order is random because several test runs may share this machine.
    for port in random.sample(PORTS, len(PORTS)):
        if _is_free(port) and _is_free(port + SECOND_PORT):
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


_free_ports = _find_free_ports()
