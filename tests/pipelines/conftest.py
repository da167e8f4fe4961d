"""Fixtures of the pipeline runners' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.lab import Lab
from tests.pipelines.supervisors import end_supervisors


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A fresh state directory; whatever still runs below it at the end is stopped."""
    yield Lab(tmp_path / "state")
    end_supervisors(tmp_path / "state")
