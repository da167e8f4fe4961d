"""Directories that a web server shows, beside the store that reads them."""

import itertools
import os
import uuid
from pathlib import Path

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore
from agent.artifacts.http.store import HttpArtifactStore
from agent.connectors.base import Connector
from agent.credentials import HttpCredentials
from agent.errors import StoreUnavailable
from agent.secret import Secret
from agent.testing.artifact_stores import BLOCK, below, read
from agent.testing.connectors import EmptyConnector, GivenConnector
from tests.artifacts.places import closed_port

TOKEN = "Bearer of-the-test-server"
GOOD = HttpCredentials(Secret(TOKEN))
WRONG = HttpCredentials(Secret("Bearer of-another-server"))

_times = itertools.count(1_600_000_000)


class StoreThatIsDown:
    """Mixed into a contract's tests, has the one of a store that is down."""

    async def test_a_store_that_is_down_is_unavailable(self) -> None:
        root = ArtifactUri.parse(f"http://127.0.0.1:{closed_port()}/down")
        store = HttpArtifactStore("down", root, GivenConnector(GOOD), block_bytes=lambda: BLOCK)

        with pytest.raises(StoreUnavailable):
            await read(store, below(root, "x"))
        with pytest.raises(StoreUnavailable):
            await store.list(root, page_size=1, page_token=None)
        with pytest.raises(StoreUnavailable):
            await store.check()
        await store.close()


class HttpPlace:
    """A directory of its own below *directory*, which the server at *url* shows.

    Web servers tell versions apart by seconds: each file is a second younger than the one before.
    """

    def __init__(self, url: str, directory: Path) -> None:
        name = uuid.uuid4().hex
        self.directory = directory / name
        self.directory.mkdir()
        self.root = ArtifactUri.parse(f"{url}/{name}")
        self.connector = GivenConnector(GOOD)
        self.store = self._read_by(self.connector)

    def put(self, path: str, data: bytes) -> ArtifactUri:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        time = next(_times)
        os.utime(file, (time, time))
        return below(self.root, path)

    def refused(self) -> ArtifactStore:
        return self._read_by(GivenConnector(WRONG))

    def unreachable(self) -> None:
        """Its address is part of each URI: `StoreThatIsDown` has the test of that."""

    def without_credentials(self) -> ArtifactStore:
        return self._read_by(EmptyConnector(HttpCredentials))

    def _read_by(self, connector: Connector[HttpCredentials]) -> HttpArtifactStore:
        return HttpArtifactStore("place", self.root, connector, block_bytes=lambda: BLOCK)
