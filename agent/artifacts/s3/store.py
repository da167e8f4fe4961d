"""Artifacts in S3 and what speaks its protocol, by obstore.

How a client is made, a level listed and an error translated stands in the files beside this one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import BEHIND_THE_END, BlockBytes, ByteRange, Page
from agent.artifacts.paging import Position, require_page_size
from agent.artifacts.s3.client import make_client
from agent.artifacts.s3.errors import translated
from agent.artifacts.s3.listing import read_level
from agent.connectors.base import Connector
from agent.credentials import AwsCredentials
from agent.errors import AccessDenied, BadParameters, NotFound, Truncated
from agent.telemetry import metrics
from agent.telemetry.logs import get_logger

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions, GetResult
    from obstore.store import S3Store

ANSWER_SECONDS = 30.0
"""Until the headers of an answer, repeated tries included; a refused connection takes far less."""
STALL_SECONDS = 60.0
"""For one block. However slow the reader is, the time it takes does not count."""

log = get_logger()
T = TypeVar("T")


class S3Artifact:
    """One version of one object, as it streams in.

    A connection that breaks is mended by obstore, from the byte it broke at, for the same etag.
    """

    def __init__(self, result: "GetResult", *, block_bytes: int) -> None:
        meta = result.meta
        self.size = meta["size"]
        self.etag = meta["e_tag"] or ""
        self.media_type = result.attributes.get("Content-Type")
        first, end = result.range
        self._expected = end - first
        self._stream: BytesStream | None = result.stream(min_chunk_size=block_bytes)

    async def blocks(self) -> AsyncIterator[bytes]:
        left = self._expected
        while left > 0:
            block = await self._next()
            metrics.artifact_bytes.labels(S3ArtifactStore.type).inc(len(block))
            left -= len(block)
            yield block

    def release(self) -> None:
        """Close the connection if there is more to come on it."""
        self._stream = None

    async def _next(self) -> bytes:
        if self._stream is None:
            raise ValueError("the artifact is read outside of its context")
        with translated():
            async with asyncio.timeout(STALL_SECONDS):
                try:
                    return await anext(self._stream)
                except StopAsyncIteration:
                    raise Truncated from None


class S3ArtifactStore:
    """Reads what lies below one root ``s3://bucket/prefix`` with the credentials of one connector.

    One client, with its connections, serves all jobs until the connector has other credentials.

    obstore follows redirects and can't be told not to: with a session token, without the signature,
    and to plain HTTP only where the end point is plain HTTP. So the end point must be trusted.
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

    @asynccontextmanager
    async def open(
        self, uri: ArtifactUri, *, span: ByteRange | None = None, etag: str | None = None
    ) -> AsyncIterator[S3Artifact]:
        self._require_below_root(uri)
        artifact = await self._get(uri.key, span, etag)
        try:
            yield artifact
        finally:
            artifact.release()

    async def list(self, uri: ArtifactUri, *, page_size: int, page_token: str | None) -> Page:
        """Return one page; an empty prefix is not found, except for the root itself."""
        require_page_size(page_size)
        self._require_below_root(uri)
        after = None if page_token is None else Position.parse(page_token)
        page = await self._ask(
            lambda client: read_level(client, uri, page_size=page_size, after=after)
        )
        if not page.entries and after is None and page.next_token is None and uri != self._root:
            raise NotFound
        return page

    async def check(self) -> str:
        await self.list(self._root, page_size=1, page_token=None)
        return "the bucket can be listed"

    async def close(self) -> None:
        self._client = None

    async def _get(self, key: str, span: ByteRange | None, etag: str | None) -> S3Artifact:
        try:
            return await self._ask(lambda client: self._request(client, key, _options(span, etag)))
        except BadParameters:
            if span is None or span.first > 0:
                raise BadParameters(BEHIND_THE_END) from None
        # S3 has no range of an empty object, not even one that begins at its first byte.
        return await self._ask(lambda client: self._request(client, key, _options(None, etag)))

    async def _request(self, client: "S3Store", key: str, options: "GetOptions") -> S3Artifact:
        import obstore

        if not key:
            raise NotFound
        result = await obstore.get_async(client, key, options=options)
        return S3Artifact(result, block_bytes=self._block_bytes())

    async def _ask(self, request: Callable[["S3Store"], Awaitable[T]]) -> T:
        """Make a request; when the credentials are refused, once more with others."""
        used = await self._connector.credentials()
        try:
            return await self._answer(request, used)
        except AccessDenied as refusal:
            log.warning(
                "credential.refused",
                store=self.name,
                connector=self._connector.name,
                code=refusal.detail,
            )
        self._connector.invalidate(used)
        used = await self._connector.credentials()
        try:
            return await self._answer(request, used)
        except AccessDenied as refusal:
            detail = f"the store refuses connector {self._connector.name}: {refusal.detail}"
            raise AccessDenied(detail=detail) from None

    async def _answer(
        self, request: Callable[["S3Store"], Awaitable[T]], credentials: AwsCredentials
    ) -> T:
        with translated():
            async with asyncio.timeout(ANSWER_SECONDS):
                return await request(self._client_for(credentials))

    def _client_for(self, credentials: AwsCredentials) -> "S3Store":
        if self._client is None or self._client[0] != credentials:
            self._client = (credentials, make_client(self._root.bucket, credentials))
        return self._client[1]

    def _require_below_root(self, uri: ArtifactUri) -> None:
        if not uri.within(self._root):
            raise NotFound


def _options(span: ByteRange | None, etag: str | None) -> "GetOptions":
    options: GetOptions = {}
    if etag is not None:
        options["if_match"] = etag
    if span is not None:
        options["range"] = (
            {"offset": span.first} if span.last is None else (span.first, span.last + 1)
        )
    return options
