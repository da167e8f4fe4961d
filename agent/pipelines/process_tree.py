"""What the kernel offers to confine a process and all that it starts, and to end it all.

Standard library only. On a system without Linux' prctl the process group is all there is.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)


def confine() -> None:
    """Prepare this process to supervise: it inherits orphans, and so keeps hold of them.

    Its memory and environment can't be read through /proc by others of the same user, and neither
    it nor what it starts gains privileges from a set-user-id program.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)


def die_with(parent: int) -> None:
    """Have this process killed when *parent*, who forked it, dies; call it before exec."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if not _LINUX:
        return
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def reap() -> Iterator[tuple[int, int]]:
    """Yield process id and exit code of each child that has ended; does not wait."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def childless() -> bool:
    """Whether nothing that descends from this process is left."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def kill_all(on_end: Callable[[int, int], None]) -> None:
    """Kill every descendant and wait until none is left; tell *on_end* of each as `reap` does.

    Only our own children are ever killed: a child stays ours until we wait for it, so its number
    can't have passed to another process. Each time some are gone, theirs have become ours.
    """
    with suppress(ChildProcessError):
        while True:
            for child in _children():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            pid, status = os.waitpid(-1, 0 if _LINUX else os.WNOHANG)
            if pid == 0:
                return
            on_end(pid, os.waitstatus_to_exitcode(status))


def _children() -> Iterator[int]:
    # /proc/self/task/*/children would be shorter, but not every kernel has it.
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The second field is the command, which may hold brackets and spaces as well.
            parent = entry.read_bytes().rpartition(b")")[2].split()[1]
            if int(parent) == os.getpid():
                yield int(entry.parent.name)
