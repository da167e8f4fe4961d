"""Where the data of `cloud-agent exec` goes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.execute import _with_output
from agent.errors import Exit, UsageError


def test_a_file_appears_when_the_job_has_succeeded(tmp_path):
    """Whole, and with nothing left beside it."""

    def run(sink):
        sink.write(b"content")
        return {"outcome": "succeeded"}

    _with_output(tmp_path / "out", run)

    assert [("out", b"content")] == [(path.name, path.read_bytes()) for path in tmp_path.iterdir()]


def test_half_a_file_is_not_kept(tmp_path):
    """And what stood there before stays."""
    (tmp_path / "out").write_bytes(b"of yesterday")

    def run(sink):
        sink.write(b"half")
        return {"outcome": "failed"}

    _with_output(tmp_path / "out", run)

    assert b"of yesterday" == (tmp_path / "out").read_bytes()
    assert ["out"] == [path.name for path in tmp_path.iterdir()]


def test_a_device_is_written_to_as_it_is():
    """Nobody wants /dev/null replaced by a file."""
    _with_output(Path(os.devnull), lambda _: {"outcome": "x"})

    assert not os.path.isfile(os.devnull)


def test_a_file_that_cannot_be_written_is_a_mistake_of_the_user(tmp_path):
    """As in a directory that is not there."""
    with pytest.raises(UsageError, match="cannot be written"):
        _with_output(tmp_path / "no" / "out", lambda _: {"outcome": "succeeded"})


def test_an_interrupt_exits_with_130_and_no_traceback(tmp_path):
    """As when Ctrl-C is pressed."""
    os.mkfifo(tmp_path / "job.json")
    command = [sys.executable, "-m", "agent", "exec", "-f", str(tmp_path / "job.json")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        with open(tmp_path / "job.json", "wb"):  # opens once the agent reads
            process.send_signal(signal.SIGINT)
            _, complaint = process.communicate(timeout=30)

    assert (Exit.INTERRUPTED, b"") == (process.returncode, complaint)
