"""Configuration files for tests, and what loading a wrong one says."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.config.load import Loaded, load
from agent.errors import UsageError

NOTHING: Mapping[str, str] = {}


def loaded(tmp_path: Path, text: str, *, environ: Mapping[str, str] = NOTHING) -> Loaded:
    """Write *text* as agent.yaml and load it."""
    return load(written(tmp_path, text), environ=environ)


def complaints(tmp_path: Path, text: str, *, environ: Mapping[str, str] = NOTHING) -> list[str]:
    """Return the lines that loading *text* fails with, without the directory of the file."""
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, text, environ=environ)
    _, *lines = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    return [line.strip() for line in lines]


def written(tmp_path: Path, text: str) -> Path:
    """Write *text* as agent.yaml."""
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return path
