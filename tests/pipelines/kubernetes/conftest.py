"""Fixtures of the tests of pipelines in a cluster."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.pipelines.kubernetes.lab import ClusterLab
from tests.servers.kubernetes import Cluster, Double


@pytest.fixture
async def lab(cluster: Cluster, tmp_path: Path) -> AsyncIterator[ClusterLab]:
    """A fresh namespace and state directory."""
    lab = ClusterLab(cluster, tmp_path / "state")
    yield lab
    await lab.close()


@pytest.fixture
def double(cluster: Cluster) -> Double:
    """What can be done to a double alone; real clusters are spared."""
    if cluster.double is None:
        pytest.skip("nobody breaks a real cluster")
    return cluster.double
