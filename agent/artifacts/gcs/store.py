"""Artifacts in Google Cloud Storage.

How it is spoken to, a level listed and an error translated stands in the files beside this one.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from agent.artifact_uri import ArtifactUri
from agent.artifacts.asking import ask
from agent.artifacts.base import Artifact, BlockBytes, ByteRange, Page
from agent.artifacts.blocking import BlockingSource
from agent.artifacts.gcs.client import Body, make_client, open_body
from agent.artifacts.gcs.errors import translated
from agent.artifacts.gcs.listing import read_level
from agent.artifacts.paging import Position, require_page_size
from agent.artifacts.resuming import ResumingArtifact
from agent.artifacts.verifying import VerifiedArtifact, known
from agent.connectors.base import Connector
from agent.credentials import GcpCredentials
from agent.errors import BadParameters, Changed, NotFound
from agent.retrying import TRIES
from agent.threads import Threads

if TYPE_CHECKING:
    from google.cloud.storage import Client

T = TypeVar("T")

_DIGITS_OF_A_GENERATION = 19


class GcsArtifactStore:
    """Reads what lies below one root ``gs://bucket/prefix`` with the credentials of one connector.

    One client, with its connections, serves all jobs until the connector has other credentials.
    The etag of an artifact is the generation of its object.
    """

    type = "gcs"

    def __init__(
        self,
        name: str,
        root: ArtifactUri,
        connector: Connector[GcpCredentials],
        *,
        block_bytes: BlockBytes,
    ) -> None:
        self.name = name
        self._root = root
        self._connector = connector
        self._block_bytes = block_bytes
        self._threads = Threads(f"gcs-{name}")
        self._making = threading.Lock()
        self._client: tuple[GcpCredentials, Client] | None = None

    @asynccontextmanager
    async def open(
        self, uri: ArtifactUri, *, span: ByteRange | None = None, etag: str | None = None
    ) -> AsyncIterator[Artifact]:
        self._require_below_root(uri)
        body = await self._body(uri.key, span, etag, tries=TRIES)
        artifact = self._artifact(uri.key, span, body)
        try:
            if span is None or span == ByteRange(0):
                yield VerifiedArtifact(artifact, known(body.checksum))
            else:
                yield artifact
        finally:
            await artifact.close()

    async def list(self, uri: ArtifactUri, *, page_size: int, page_token: str | None) -> Page:
        """Return one page; an empty prefix is not found, except for the root itself."""
        require_page_size(page_size)
        self._require_below_root(uri)
        after = None if page_token is None else Position.parse(page_token)
        page = await self._ask(
            lambda client: read_level(client, uri, page_size=page_size, after=after), tries=TRIES
        )
        if not page.entries and after is None and page.next_token is None and uri != self._root:
            raise NotFound
        return page

    async def check(self) -> str:
        await self.list(self._root, page_size=1, page_token=None)
        return "the bucket can be listed"

    async def close(self) -> None:
        self._threads.close()
        kept, self._client = self._client, None
        if kept is not None:
            kept[1].close()

    def _artifact(self, key: str, span: ByteRange | None, body: Body) -> ResumingArtifact:
        async def begin(rest: ByteRange | None, etag: str | None) -> BlockingSource:
            return self._source(await self._body(key, rest, etag, tries=1))

        return ResumingArtifact(self._source(body), begin, span, store_type=self.type)

    def _source(self, body: Body) -> BlockingSource:
        return BlockingSource(
            body,
            self._threads,
            translated,
            size=body.size,
            etag=body.generation,
            media_type=body.media_type,
            block_bytes=self._block_bytes(),
        )

    async def _body(
        self, key: str, span: ByteRange | None, etag: str | None, *, tries: int
    ) -> Body:
        if not key:
            raise NotFound
        generation = None if etag is None else _generation(etag)

        def request(span: ByteRange | None) -> "Callable[[Client], Body]":
            bucket = self._root.bucket
            return lambda client: open_body(client.bucket(bucket).blob(key), span, generation)

        try:
            return await self._ask(request(span), tries=tries)
        except BadParameters:
            if span is None or span.first > 0:
                raise
        # There is no range of an empty object, not even one that begins at its first byte.
        return await self._ask(request(None), tries=tries)

    async def _ask(self, request: "Callable[[Client], T]", *, tries: int) -> T:
        def answer(credentials: GcpCredentials) -> T:
            with translated():
                return request(self._client_for(credentials))

        async def asked(credentials: GcpCredentials) -> T:
            answering = self._threads.start(lambda: answer(credentials))
            try:
                return await asyncio.shield(answering)
            except asyncio.CancelledError:
                # The thread can't be cancelled, and nobody else knows what it opens.
                answering.add_done_callback(_close_unread)
                raise

        return await ask(self._connector, asked, store=self.name, tries=tries)

    def _client_for(self, credentials: GcpCredentials) -> "Client":
        with self._making:
            if self._client is None or self._client[0] != credentials:
                before, self._client = self._client, (credentials, make_client(credentials))
                if before is not None:
                    # Ends idle connections only: transfers under way keep theirs.
                    before[1].close()
            return self._client[1]

    def _require_below_root(self, uri: ArtifactUri) -> None:
        if not uri.within(self._root):
            raise NotFound


def _close_unread(answering: "asyncio.Future[Any]") -> None:
    if answering.cancelled() or answering.exception() is not None:
        return
    if isinstance(body := answering.result(), Body):
        body.close()


def _generation(etag: str) -> int:
    if not (etag.isascii() and etag.isdigit() and len(etag) <= _DIGITS_OF_A_GENERATION):
        raise Changed
    return int(etag)
