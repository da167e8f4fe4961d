"""Where the tests of the store for Azure put things."""

import uuid
from dataclasses import replace

from agent.artifact_uri import ArtifactUri
from agent.artifacts.azure.store import AzureArtifactStore
from agent.connectors.base import Connector
from agent.credentials import AzureCredentials
from agent.secret import Secret
from agent.testing.artifact_stores import BLOCK, below
from agent.testing.connectors import EmptyConnector, GivenConnector
from tests.artifacts.places import closed_port
from tests.servers.azurite import ACCOUNT, CONTAINER, KEY, Azurite

OTHER_KEY = Secret("bm90LXRoZS1rZXktb2YtYW55LWFjY291bnQtdGhhdC10aGVyZS1pcw==")


class AzurePlace:
    """A prefix of its own in a real server; *root* is how URIs of it begin."""

    def __init__(self, server: Azurite, root: str = f"az://{CONTAINER}") -> None:
        self.root = ArtifactUri.parse(f"{root}/{uuid.uuid4().hex}")
        self.credentials = azure_credentials(server)
        self.store = self.read_by(GivenConnector(self.credentials))
        self.client = server.client()

    def put(self, path: str, data: bytes) -> ArtifactUri:
        from azure.storage.blob import ContentSettings

        uri = below(self.root, path)
        settings = ContentSettings(content_type="text/csv")
        self.client.upload_blob(uri.key, data, overwrite=True, content_settings=settings)
        return uri

    def refused(self) -> AzureArtifactStore:
        return self.read_by(GivenConnector(replace(self.credentials, account_key=OTHER_KEY)))

    def unreachable(self) -> AzureArtifactStore:
        nowhere = f"http://127.0.0.1:{closed_port()}/{ACCOUNT}"
        return self.read_by(GivenConnector(replace(self.credentials, endpoint_url=nowhere)))

    def without_credentials(self) -> AzureArtifactStore:
        return self.read_by(EmptyConnector(AzureCredentials))

    def read_by(self, connector: Connector[AzureCredentials]) -> AzureArtifactStore:
        return AzureArtifactStore("place", self.root, connector, block_bytes=lambda: BLOCK)

    async def close(self) -> None:
        await self.store.close()
        self.client.close()


def azure_credentials(server: Azurite) -> AzureCredentials:
    """Return the account's key."""
    return AzureCredentials(ACCOUNT, server.endpoint_url, account_key=KEY, ca_file=server.ca_file)
