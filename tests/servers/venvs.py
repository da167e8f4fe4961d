"""Environments for servers that are Python programs with dependencies of their own.

``python -m tests.servers.venvs`` makes all of them, so that no test has to wait for one.
"""

import fcntl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_LOCKS = _ROOT / "requirements" / "servers"
_VENVS = _ROOT / ".cache" / "servers"
_UV = Path(sys.executable).parent / "uv"


def server_venv(name: str) -> Path:
    """Return the environment with what ``requirements/servers/NAME.txt`` pins, made where it lacks.

    Its programs are in ``bin``. A changed lock file makes it anew; of many who ask at once, also in
    other processes, one makes it and all wait.

    Raises:
        AssertionError: It could not be made; the text shows why.
    """
    lock, venv = _LOCKS / f"{name}.txt", _VENVS / name
    wanted, stamp = lock.read_bytes(), venv / "made-of.txt"
    _VENVS.mkdir(parents=True, exist_ok=True)
    with (_VENVS / f"{name}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != wanted:
            _uv("venv", "--clear", "--python", sys.executable, venv)
            python = venv / "bin" / "python"
            _uv("pip", "sync", "--require-hashes", "--python", python, lock)
            # The last thing that it gets: with it, it is whole.
            stamp.write_bytes(wanted)
    return venv


def _uv(*arguments: str | Path) -> None:
    argv: Sequence[str | Path] = [_UV, *arguments, "--quiet"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"uv {arguments[0]} failed:\n{done.stderr}"


if __name__ == "__main__":
    for path in sorted(_LOCKS.glob("*.txt")):
        server_venv(path.stem)
