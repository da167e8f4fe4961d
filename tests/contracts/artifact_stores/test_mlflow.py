"""A real MLflow server that reads the artifacts itself; what only MLflow can't is skipped."""

from collections.abc import AsyncIterator

import pytest

from agent.testing.artifact_stores import ArtifactStoreContract, Place
from tests.artifacts.mlflow.places import MlflowPlace
from tests.servers.mlflow import Mlflow

LACKING = {
    "test_same_etag_opens": "MLflow names no versions of a file",
    "test_names_are_taken_literally[p%2Fq]": "MLflow decodes names until nothing changes",
    "test_names_are_taken_literally[e#f]": "MLflow has no names with a hash",
}


class TestMlflow(ArtifactStoreContract):
    lists_times = False
    media_type = "text/plain"

    @pytest.fixture
    async def place(self, mlflow: Mlflow, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
        if request.node.name in LACKING:
            pytest.skip(LACKING[request.node.name])
        place = MlflowPlace(mlflow)
        yield place
        await place.store.close()
