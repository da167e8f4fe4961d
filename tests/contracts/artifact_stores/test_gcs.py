"""A real server for Google Cloud Storage, behind a proxy that minds credentials."""

from collections.abc import AsyncIterator, Iterator

import pytest

from agent.testing.artifact_stores import ArtifactStoreContract, Place
from tests.artifacts.gcs.places import GcsPlace
from tests.doubles.gcp_proxy import running_gcs_proxy
from tests.servers.fake_gcs import FakeGcs, start_fake_gcs


@pytest.fixture(scope="module")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    server = start_fake_gcs(tmp_path_factory.mktemp("gcs"))
    yield server
    server.stop()


class TestGcs(ArtifactStoreContract):
    @pytest.fixture
    async def place(self, fake_gcs: FakeGcs) -> AsyncIterator[Place]:
        with running_gcs_proxy(fake_gcs.port) as proxy:
            place = GcsPlace(fake_gcs, proxy)
            yield place
            await place.close()
