"""Opens a file below a directory and nowhere else. What is read from it is not decided here."""

import errno
import os
from collections import deque
from contextlib import ExitStack
from pathlib import Path

_LINKS = 40
"""As many symbolic links as Linux itself follows in one path."""


def open_beneath(root: Path, path: str) -> int:
    """Return a descriptor to read *path* with, never of anything outside *root*.

    The caller closes it. Links are followed as long as they stay below, since Kubernetes mounts
    secrets as links to a directory that it swaps. Each component is opened relative to its parent
    and never through a link that the kernel would follow, so a swap between look and use can't
    lead out. Doesn't wait for a writer of a pipe.

    Raises:
        PermissionError: The way leads out of *root*, or has too many links.
        OSError: Besides, what the system says.
    """
    todo = deque(_components(path))
    links = 0
    with ExitStack() as opened:
        parents = [_directory(root, None, opened)]
        while todo:
            name = todo.popleft()
            if name == "..":
                _climb(parents)
            elif (target := _link(name, parents[-1])) is not None:
                links += 1
                _require(links <= _LINKS, "too many symbolic links")
                todo.extendleft(reversed(_components(target)))
            elif todo:
                parents.append(_directory(name, parents[-1], opened))
            else:
                return os.open(
                    name,
                    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                    dir_fd=parents[-1],
                )
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _components(path: str) -> list[str]:
    _require(not path.startswith("/"), "an absolute path")
    _require("\0" not in path, "a path with a null character")
    return [part for part in path.split("/") if part not in ("", ".")]


def _climb(parents: list[int]) -> None:
    _require(len(parents) > 1, "the way leads out of the directory")
    parents.pop()


def _require(allowed: bool, otherwise: str) -> None:
    if not allowed:
        raise PermissionError(errno.EXDEV, otherwise)


def _link(name: str, parent: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EINVAL:  # it is there, and no link
            return None
        raise


def _directory(name: str | Path, parent: int | None, opened: ExitStack) -> int:
    # The root itself may be a link; below it, what is a link was resolved already.
    nofollow = 0 if parent is None else os.O_NOFOLLOW
    directory = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | nofollow, dir_fd=parent)
    opened.callback(os.close, directory)
    return directory
