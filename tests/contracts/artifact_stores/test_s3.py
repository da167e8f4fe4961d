"""A real S3 server that enforces signatures."""

from collections.abc import AsyncIterator

import pytest

from agent.testing.artifact_stores import ArtifactStoreContract, Place
from tests.artifacts.places import S3Place
from tests.servers.seaweedfs import SeaweedFS


class TestS3(ArtifactStoreContract):
    @pytest.fixture
    async def place(self, seaweedfs: SeaweedFS) -> AsyncIterator[Place]:
        place = S3Place(seaweedfs)
        yield place
        await place.store.close()
