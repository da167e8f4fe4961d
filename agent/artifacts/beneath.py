"""Opens what lies beneath a directory, and nothing else, whatever happens to the path meanwhile.

Each component is opened through the descriptor of the one before it and may be no link. So there is
no moment between a check and the use of what was checked. What is read is not decided here.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK the open of a FIFO would wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KERNEL_MOUNTS = (Path("/proc"), Path("/sys"))


class Descriptor:
    """An open file or directory, closed when the last one who uses it lets go.

    It has no `close`: a thread can't be cancelled, and one that still reads must not find the
    number of its descriptor given to another file.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def beneath(cls, parent: Self, name: str, flags: int) -> Self:
        """Open *name* in the directory *parent*; a path that leads on from there is no name.

        Raises:
            OSError: It is not there, or may not be opened so.
        """
        if name in ("", ".", "..") or "/" in name:
            raise FileNotFoundError
        return cls(os.open(name, flags, dir_fd=parent.fd))

    def __del__(self) -> None:
        os.close(self.fd)


def open_directory(root: Path, segments: Sequence[str]) -> Descriptor:
    """Open the directory at *segments* beneath *root*. Blocks.

    The customer configured *root*, so links on the way to it are followed.

    Raises:
        OSError: It is not there, no directory, or behind a link (ELOOP or ENOTDIR).
    """
    directory = Descriptor(os.open(root, _DIRECTORY))
    for segment in segments:
        directory = Descriptor.beneath(directory, segment, _DIRECTORY | os.O_NOFOLLOW)
    return directory


def open_file(root: Path, segments: Sequence[str]) -> Descriptor:
    """Open the regular file at *segments* beneath *root* for reading. Blocks, but for no FIFO.

    Raises:
        OSError: As for `open_directory`.
        FileNotFoundError: What is there is no regular file, or one that the kernel makes up.
    """
    if not segments:
        raise FileNotFoundError
    file = Descriptor.beneath(open_directory(root, segments[:-1]), segments[-1], _FILE)
    status = os.fstat(file.fd)
    if not stat.S_ISREG(status.st_mode) or status.st_dev in _kernel_devices():
        raise FileNotFoundError
    return file


def _kernel_devices() -> set[int]:
    """Find the file systems whose "regular files" show processes, their secrets and the machine."""
    return {mount.stat().st_dev for mount in _KERNEL_MOUNTS if mount.is_mount()}
