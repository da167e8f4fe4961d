"""Artifacts in S3 and what speaks its protocol, by obstore.

How a client is made, a level listed and an error translated stands in the files beside this one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from agent.artifact_uri import ArtifactUri
from agent.artifacts.asking import ask
from agent.artifacts.base import BEHIND_THE_END, Artifact, BlockBytes, ByteRange, Page
from agent.artifacts.paging import Position, require_page_size
from agent.artifacts.resuming import ResumingArtifact
from agent.artifacts.s3.checksums import LEAST_BYTES, StoredChecksums
from agent.artifacts.s3.client import make_client
from agent.artifacts.s3.errors import translated
from agent.artifacts.s3.listing import lacks, next_keys, read_level
from agent.artifacts.s3.source import S3Source, options
from agent.artifacts.verifying import VerifiedArtifact
from agent.connectors.base import Connector
from agent.credentials import AwsCredentials
from agent.errors import AccessDenied, BadParameters, Changed, NotFound
from agent.retrying import TRIES

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import S3Store

ANSWER_SECONDS = 10.0
"""Until the headers of an answer; then it is asked again, as it is when a connection breaks."""

T = TypeVar("T")


class S3ArtifactStore:
    """Reads what lies below one root ``s3://bucket/prefix`` with the credentials of one connector.

    One client, with its connections, serves all jobs until the connector has other credentials.
    """

    type = "s3"

    def __init__(
        self,
        name: str,
        root: ArtifactUri,
        connector: Connector[AwsCredentials],
        *,
        block_bytes: BlockBytes,
    ) -> None:
        self.name = name
        self._root = root
        self._connector = connector
        self._block_bytes = block_bytes
        self._client: tuple[AwsCredentials, S3Store] | None = None
        self._checksums = StoredChecksums(name)

    @asynccontextmanager
    async def open(
        self, uri: ArtifactUri, *, span: ByteRange | None = None, etag: str | None = None
    ) -> AsyncIterator[Artifact]:
        self._require_below_root(uri)
        if not uri.key:
            raise NotFound
        source = await self._first(uri.key, span, etag)
        again = partial(self._again, uri.key, source.version)
        artifact = ResumingArtifact(source, again, span, store_type=self.type)
        try:
            whole = span is None and source.size >= LEAST_BYTES
            yield self._verified(uri.key, artifact, source.credentials) if whole else artifact
        finally:
            await artifact.close()

    async def list(self, uri: ArtifactUri, *, page_size: int, page_token: str | None) -> Page:
        """Return one page; an empty prefix is not found, except for the root itself."""
        require_page_size(page_size)
        self._require_below_root(uri)
        after = None if page_token is None else Position.parse(page_token)
        page = await read_level(self._keys, uri, page_size=page_size, after=after)
        if not page.entries and after is None and page.next_token is None and uri != self._root:
            raise NotFound
        return page

    async def check(self) -> str:
        await self.list(self._root, page_size=1, page_token=None)
        return "the bucket can be listed"

    async def close(self) -> None:
        self._client = None
        self._checksums.close()

    def _verified(
        self, key: str, artifact: ResumingArtifact, credentials: AwsCredentials
    ) -> VerifiedArtifact:
        expected = self._checksums.ask(self._root.bucket, key, artifact.etag, credentials)
        return VerifiedArtifact(artifact, expected)

    async def _first(self, key: str, span: ByteRange | None, etag: str | None) -> S3Source:
        try:
            return await self._get(key, options(span, etag))
        except BadParameters:
            if span is None or span.first > 0:
                raise BadParameters(BEHIND_THE_END) from None
        # S3 has no range of an empty object, not even one that begins at its first byte.
        return await self._get(key, options(None, etag))

    async def _again(
        self, key: str, version: str | None, span: ByteRange | None, etag: str | None
    ) -> S3Source:
        """Go on with the version that the transfer began with, where the bucket still has it.

        It is named only when it is no longer the newest: that takes ``s3:GetObjectVersion``, too.
        """
        try:
            return await self._get(key, options(span, etag), tries=1)
        except (Changed, NotFound):
            if version is None:
                raise
        return await self._get(key, options(span, etag, version), tries=1)

    async def _get(self, key: str, wanted: "GetOptions", *, tries: int = TRIES) -> S3Source:
        async def get(credentials: AwsCredentials) -> S3Source:
            import obstore

            client = self._client_for(credentials)
            try:
                with translated():
                    result = await obstore.get_async(client, key, options=wanted)
            except AccessDenied:
                # Amazon says 403, not 404, of a missing key to who may list a part of the bucket.
                if await lacks(client, self._root.key, key):
                    raise NotFound from None
                raise
            return S3Source(result, credentials, block_bytes=self._block_bytes())

        return await self._ask(get, tries=tries)

    async def _keys(self, prefix: str, start: str | None) -> "Sequence[ObjectMeta]":
        return await self._ask(
            lambda credentials: next_keys(self._client_for(credentials), prefix, start)
        )

    async def _ask(
        self, request: Callable[[AwsCredentials], Awaitable[T]], *, tries: int = TRIES
    ) -> T:
        async def answer(credentials: AwsCredentials) -> T:
            with translated():
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await request(credentials)

        return await ask(self._connector, answer, store=self.name, tries=tries)

    def _client_for(self, credentials: AwsCredentials) -> "S3Store":
        if self._client is None or self._client[0] != credentials:
            self._client = (credentials, make_client(self._root.bucket, credentials))
        return self._client[1]

    def _require_below_root(self, uri: ArtifactUri) -> None:
        if not uri.within(self._root):
            raise NotFound
