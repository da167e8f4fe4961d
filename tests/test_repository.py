"""What every file of the repository promises: small, portable, finished, and of no one machine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LARGEST_FILE = 512 * 1024
LONGEST_README = 150
LONGEST_MODULE = 400

# The words are cut in two so that this file does not find itself.
FORBIDDEN = {
    "a path of one machine": re.compile(r"/(?:home|Users|root|work)/" + r"[a-z]"),
    "an index address": re.compile(r"(?m)^\s*--(?:extra-|default-)?index" + r"|^\s*--find-links"),
    "unfinished work": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
    "a merge conflict": re.compile(r"(?m)^(?:<{7}|>{7}) "),
    "a private key": re.compile("-----BEGIN " + r"[A-Z ]*PRIVATE KEY-----\s*\S"),
}


def _tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("this is not a git work tree")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    guilty = [
        f"{path.relative_to(ROOT)}: {found[0]!r}"
        for path in _tracked()
        if (found := FORBIDDEN[what].search(path.read_text(errors="replace")))
    ]

    assert guilty == []


def test_no_file_is_large() -> None:
    assert [path for path in _tracked() if path.stat().st_size > LARGEST_FILE] == []


def test_no_module_is_long() -> None:
    modules = [path for path in _tracked() if path.suffix == ".py"]

    assert [path for path in modules if _lines(path) > LONGEST_MODULE] == []


def test_the_readme_stays_short() -> None:
    assert _lines(ROOT / "README.md") <= LONGEST_README


@pytest.mark.parametrize("lock", sorted(path.name for path in ROOT.glob("requirements/*.txt")))
def test_every_locked_package_has_hashes(lock: str) -> None:
    entries = re.split(r"(?m)^(?=\S)", (ROOT / "requirements" / lock).read_text())

    assert [entry for entry in entries if entry and "--hash=sha256:" not in entry] == []


def test_the_locks_agree() -> None:
    """What runs in production is what was tested."""
    tested = _pins("test.txt")

    assert [lock for lock in ("runtime.txt", "demo.txt") if not _pins(lock) <= tested] == []


def _pins(lock: str) -> set[str]:
    text = (ROOT / "requirements" / lock).read_text()
    return set(re.findall(r"(?m)^[^\s#]+==\S+", text))


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_the_demo_needs_nothing_of_the_test_tools():
    """`make demo` installs less than `make test`; what both use must not import pytest."""
    blocked = "import sys; sys.modules['pytest'] = None; import demo.run"

    assert 0 == subprocess.run([sys.executable, "-c", blocked], cwd=ROOT).returncode
