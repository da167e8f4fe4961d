"""Real files."""

from pathlib import Path

import pytest

from agent.testing.artifact_stores import ArtifactStoreContract, Place
from tests.artifacts.places import FilePlace


class TestFile(ArtifactStoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return FilePlace(tmp_path)
