"""Where the tests of Google Cloud Storage put things, beside the store that reads it."""

import uuid

from google.cloud.storage import Bucket, Client

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore
from agent.artifacts.gcs.client import make_client
from agent.artifacts.gcs.store import GcsArtifactStore
from agent.connectors.base import Connector
from agent.credentials import GcpCredentials
from agent.secret import Secret
from agent.testing.artifact_stores import BLOCK, below
from agent.testing.connectors import EmptyConnector, GivenConnector
from tests.artifacts.places import closed_port
from tests.doubles.gcp_proxy import GcsProxy
from tests.servers.fake_gcs import BUCKET, FakeGcs


class GcsPlace:
    """A prefix of its own in the real server, read through the proxy that minds credentials."""

    def __init__(self, server: FakeGcs, proxy: GcsProxy) -> None:
        self.root = ArtifactUri.parse(f"gs://{BUCKET}/{uuid.uuid4().hex}")
        self.connector = GivenConnector(gcp_credentials(proxy.endpoint_url))
        self.store = self.read_by(self.connector)
        self._proxy = proxy
        self._client: Client = make_client(gcp_credentials(server.endpoint_url))
        self.bucket: Bucket = self._client.bucket(BUCKET)

    def put(self, path: str, data: bytes, *, content_encoding: str | None = None) -> ArtifactUri:
        uri = below(self.root, path)
        blob = self.bucket.blob(uri.key)
        blob.content_encoding = content_encoding
        blob.upload_from_string(data, content_type="text/csv")
        return uri

    def refused(self) -> ArtifactStore:
        return self.read_by(GivenConnector(gcp_credentials(self._proxy.endpoint_url, "bad")))

    def unreachable(self) -> ArtifactStore:
        return self.read_by(GivenConnector(gcp_credentials(f"http://127.0.0.1:{closed_port()}")))

    def without_credentials(self) -> ArtifactStore:
        return self.read_by(EmptyConnector(GcpCredentials))

    def read_by(self, connector: Connector[GcpCredentials]) -> GcsArtifactStore:
        return GcsArtifactStore("place", self.root, connector, block_bytes=lambda: BLOCK)

    async def close(self) -> None:
        await self.store.close()
        self._client.close()


def gcp_credentials(endpoint_url: str, token: str = "good") -> GcpCredentials:
    return GcpCredentials(Secret(token), "test-project", endpoint_url)
