"""The identity that every link of a test proves."""

import pytest

from agent.identity import Identity


@pytest.fixture
def identity(tmp_path):
    return Identity.load_or_create(tmp_path / "state", "prod-eu")
