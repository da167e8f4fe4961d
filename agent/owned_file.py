"""Files that belong to one user and one process at a time; what they hold is not known here."""

import fcntl
import os
from pathlib import Path

from agent.errors import UsageError


def open_owned(path: Path, *, key: str, in_use: str) -> int:
    """Open *path* for appending, readable by its owner alone; return the locked descriptor.

    The file and its directory are created where they are missing. The lock ends with the
    descriptor.

    Raises:
        UsageError: It can't be opened or created, is a symbolic link, or another process has locked
        it;
            the text begins with *key*, and in the last case goes on with *in_use*.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.fchmod(fd, 0o600)
        sync_directory(path.parent)
    except OSError as exc:
        raise UsageError(f"{key}: {path} can't be used: {exc.strerror}") from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise UsageError(f"{key}: {in_use}") from None
    return fd


def sync_directory(directory: Path) -> None:
    """Return when the names of the files in *directory* are on the disk."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
