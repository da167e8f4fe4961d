"""What the process does to itself at start; in processes of their own, so that ours stays."""

import subprocess
import sys


def output_of(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_what_the_start_made_is_not_collected_again():
    code = """
import gc
from agent import hardening
hardening.spare_the_collector()
print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000)
"""
    assert "True True" == output_of(code)


def test_the_process_can_not_be_inspected():
    """PR_GET_DUMPABLE is 3."""
    code = """
import ctypes
from agent import hardening
libc = ctypes.CDLL(None)
before = libc.prctl(3, 0, 0, 0, 0)
hardening.forbid_inspection()
print(before, libc.prctl(3, 0, 0, 0, 0))
"""
    assert "1 0" == output_of(code)
