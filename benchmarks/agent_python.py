"""A Python with nothing but what the agent needs: more would be imported, and counted as memory."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_REQUIREMENTS = ROOT / "requirements" / "runtime.txt"


def make_agent_python(cache: Path) -> str:
    """Make the virtual environment below *cache*, unless it is fresh; return its interpreter."""
    directory = cache / "agent-venv"
    python = directory / "bin" / "python"
    stamp = directory / "installed.txt"
    wanted = _REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(_REQUIREMENTS)]
        subprocess.run([str(python), *install], check=True)
        stamp.write_text(wanted)
    return str(python)


def use_bytecode(cache: Path) -> None:
    """Have the agent start from compiled modules, as an installed one does, whatever is set here.

    Compiling them at each start would take time and leave the heap larger.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(cache / "bytecode")
    os.environ["PYTHONPATH"] = str(ROOT)
