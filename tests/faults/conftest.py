"""A whole world per test module: real S3, real vault, the real two commands as processes."""

from collections.abc import Iterator

import pytest

from demo.world import World
from tests.faults.worlds import Narration, started_world


@pytest.fixture(scope="module")
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A world with the agent ready; tests of one module share it.

    A module's `PLANE_OPTIONS` are options of its control plane.
    """
    options = getattr(request.module, "PLANE_OPTIONS", ())
    with started_world(tmp_path_factory.mktemp("world"), *options) as world:
        yield world


@pytest.fixture(scope="module")
def narration(world: World) -> Iterator[Narration]:
    """A pipeline that writes numbered lines; the agent is started anew to know it.

    A run that a failed test left behind ends with the module.
    """
    narration = Narration(world)
    narration.install()
    world.agent.stop()
    world.start_agent()
    yield narration
    narration.finish()
