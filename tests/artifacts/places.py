"""Where the tests of artifact stores put things: each place beside the store that reads it."""

import asyncio
import uuid
from pathlib import Path
from typing import Protocol

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore, ByteRange, Entry
from agent.artifacts.file import FileArtifactStore
from agent.artifacts.s3 import S3ArtifactStore
from agent.connectors.base import AwsCredentials, Identity
from agent.secrets.base import Secret
from tests.servers.seaweedfs import ADMIN, BUCKET, REGION, Key, SeaweedFS, s3_client

BLOCK = 256 * 1024


class Place(Protocol):
    """Something that can be filled, and the store that is to read it."""

    @property
    def root(self) -> ArtifactUri: ...

    @property
    def store(self) -> ArtifactStore: ...

    def put(self, path: str, data: bytes) -> ArtifactUri:
        """Store *data* below the root; *path* is taken as it stands."""


def below(root: ArtifactUri, path: str) -> ArtifactUri:
    return ArtifactUri(root.scheme, root.bucket, (*root.segments, *path.split("/")))


class S3Place:
    """A prefix of its own in the real server."""

    def __init__(self, server: SeaweedFS) -> None:
        self.root = ArtifactUri.parse(f"s3://{BUCKET}/{uuid.uuid4().hex}")
        self.connector = RotatingConnector(aws_credentials(server.endpoint_url))
        self.store = S3ArtifactStore("place", self.root, self.connector, block_bytes=lambda: BLOCK)
        self._s3 = s3_client(server.endpoint_url)

    def put(self, path: str, data: bytes) -> ArtifactUri:
        uri = below(self.root, path)
        self._s3.put_object(Bucket=BUCKET, Key=uri.key, Body=data, ContentType="text/csv")
        return uri


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


def aws_credentials(endpoint_url: str, key: Key = ADMIN) -> AwsCredentials:
    return AwsCredentials(
        Secret(key.access_key_id), key.secret_access_key, None, REGION, endpoint_url
    )


class RotatingConnector:
    """Gives the first credentials until they are said to be refused, then the next ones."""

    name = "rotating"

    def __init__(self, *credentials: AwsCredentials) -> None:
        self._left = list(credentials)
        self.invalidated: list[AwsCredentials] = []

    async def credentials(self) -> AwsCredentials:
        return self._left[0]

    def invalidate(self, used: AwsCredentials) -> None:
        self.invalidated.append(used)
        if len(self._left) > 1 and self._left[0] == used:
            del self._left[0]

    async def identity(self) -> Identity:
        return Identity("nobody")

    async def close(self) -> None:
        pass


async def read(
    store: ArtifactStore, uri: ArtifactUri, span: ByteRange | None = None, etag: str | None = None
) -> bytes:
    async with store.open(uri, span=span, etag=etag) as artifact:
        return b"".join([block async for block in artifact.blocks()])


async def entries(store: ArtifactStore, uri: ArtifactUri, *, page_size: int) -> list[Entry]:
    """All entries of a level, page by page."""
    found: list[Entry] = []
    token: str | None = None
    async with asyncio.timeout(30):
        while True:
            page = await store.list(uri, page_size=page_size, page_token=token)
            assert len(page.entries) <= page_size
            found += page.entries
            token = page.next_token
            if token is None:
                return found
