"""A whole world per test folder: real S3, real vault, the real two commands as processes."""

from collections.abc import Iterator

import pytest

from demo.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with everything started and the agent ready; tests of one module share it."""
    world = World(tmp_path_factory.mktemp("world"))
    try:
        world.start_stores()
        world.start_plane()
        world.enroll_later()
        world.write_config(
            control_plane={"backoff": {"first": "100ms", "longest": "500ms", "stable_after": "5s"}}
        )
        world.start_agent()
        yield world
    finally:
        world.stop()
