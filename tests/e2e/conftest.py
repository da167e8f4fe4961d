"""A whole world per test module: real S3, real vault, the real two commands as processes."""

from collections.abc import Iterator

import pytest

from demo.world import World
from tests.faults.worlds import started_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with everything started and the agent ready; tests of one module share it."""
    with started_world(tmp_path_factory.mktemp("world")) as world:
        yield world
