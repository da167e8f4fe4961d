"""Where the tests of artifact stores put things: each place beside the store that reads it."""

import socket
import uuid
from pathlib import Path

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore
from agent.artifacts.file import FileArtifactStore
from agent.artifacts.s3.store import S3ArtifactStore
from agent.connectors.base import Connector
from agent.credentials import AwsCredentials
from agent.secret import Secret
from agent.testing.artifact_stores import BLOCK, Place, below, entries, read
from agent.testing.connectors import EmptyConnector, GivenConnector
from tests.servers.seaweedfs import ADMIN, BUCKET, REGION, Key, SeaweedFS, s3_client

__all__ = ["BLOCK", "FilePlace", "Place", "S3Place", "below", "closed_port", "entries", "read"]


class S3Place:
    """A prefix of its own in the real server."""

    def __init__(self, server: SeaweedFS) -> None:
        self.root = ArtifactUri.parse(f"s3://{BUCKET}/{uuid.uuid4().hex}")
        self.connector = GivenConnector(aws_credentials(server.endpoint_url))
        self.store = S3ArtifactStore("place", self.root, self.connector, block_bytes=lambda: BLOCK)
        self._server = server
        self._s3 = s3_client(server.endpoint_url)

    def put(self, path: str, data: bytes) -> ArtifactUri:
        uri = below(self.root, path)
        self._s3.put_object(Bucket=BUCKET, Key=uri.key, Body=data, ContentType="text/csv")
        return uri

    def refused(self) -> ArtifactStore:
        wrong = Key(ADMIN.access_key_id, Secret("not-the-right-one"))
        return self._read_by(GivenConnector(aws_credentials(self._server.endpoint_url, wrong)))

    def unreachable(self) -> ArtifactStore:
        nowhere = f"http://127.0.0.1:{closed_port()}"
        return self._read_by(GivenConnector(aws_credentials(nowhere)))

    def without_credentials(self) -> ArtifactStore:
        return self._read_by(EmptyConnector(AwsCredentials))

    def _read_by(self, connector: Connector[AwsCredentials]) -> ArtifactStore:
        return S3ArtifactStore("place", self.root, connector, block_bytes=lambda: BLOCK)


class FilePlace:
    """A directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = ArtifactUri.parse(f"file://{directory}")
        self.store = FileArtifactStore("place", self.root, block_bytes=lambda: BLOCK)

    def put(self, path: str, data: bytes) -> ArtifactUri:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return below(self.root, path)

    def refused(self) -> None:
        """Nobody logs in to files."""

    def unreachable(self) -> None:
        """They are here."""

    def without_credentials(self) -> None:
        """Nobody logs in to files."""


def aws_credentials(endpoint_url: str, key: Key = ADMIN) -> AwsCredentials:
    return AwsCredentials(
        Secret(key.access_key_id), key.secret_access_key, None, REGION, endpoint_url
    )


def closed_port() -> int:
    """Return a port of this machine where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
