"""Environments of servers are made once, and anew when their lock file changes."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import venvs


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What uv was asked to do, with lock files and environments below a directory of the test."""
    asked, run = [], venvs._uv

    def record(*arguments):
        asked.append(arguments[0])
        run(*arguments)

    monkeypatch.setattr(venvs, "_uv", record)
    monkeypatch.setattr(venvs, "_LOCKS", tmp_path)
    monkeypatch.setattr(venvs, "_VENVS", tmp_path / "made")
    return asked


def test_many_who_ask_at_once_have_one_made(asked, tmp_path):
    (tmp_path / "server.txt").write_text("# nothing\n")

    with ThreadPoolExecutor(4) as pool:
        made = {*pool.map(venvs.server_venv, ["server"] * 4)}

    assert {tmp_path / "made" / "server"} == made
    assert ["venv", "pip"] == asked
    assert (tmp_path / "made" / "server" / "bin" / "python").exists()


def test_another_lock_file_has_it_made_anew(asked, tmp_path):
    for text in ("# nothing\n", "# nothing\n", "# nothing else\n"):
        (tmp_path / "server.txt").write_text(text)
        venvs.server_venv("server")

    assert ["venv", "pip"] * 2 == asked


def test_one_that_could_not_be_made_says_why_and_is_not_taken_for_made(asked, tmp_path):
    (tmp_path / "server.txt").write_text("nothing==1.0\n")

    for _ in range(2):
        with pytest.raises(AssertionError, match="uv pip failed"):
            venvs.server_venv("server")
