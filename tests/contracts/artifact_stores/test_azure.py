"""A real server of Azure Blob Storage that enforces keys, with TLS."""

from collections.abc import AsyncIterator

import pytest

from agent.testing.artifact_stores import ArtifactStoreContract, Place
from tests.artifacts.azure.places import AzurePlace
from tests.servers.azurite import ACCOUNT, CONTAINER, Azurite


class TestAzure(ArtifactStoreContract):
    """Both ways to write where a blob is."""

    @pytest.fixture(params=[f"az://{CONTAINER}", f"abfss://{CONTAINER}@{ACCOUNT}.dfs.core.test"])
    async def place(self, request: pytest.FixtureRequest, azurite: Azurite) -> AsyncIterator[Place]:
        place = AzurePlace(azurite, request.param)
        yield place
        await place.close()
