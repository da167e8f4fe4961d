"""Artifacts of a web server, below one URL.

How it is asked, a body read and an index understood stands in the files beside this one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import BlockBytes, ByteRange, Entry, Page
from agent.artifacts.blocking import BlockingSource
from agent.artifacts.http.client import HttpClient, Service, read_all
from agent.artifacts.http.content import Content, open_content
from agent.artifacts.http.errors import require_status, translated
from agent.artifacts.http.index import page_of, parse_index
from agent.artifacts.paging import Position, require_page_size
from agent.artifacts.resuming import ResumingArtifact
from agent.connectors.base import Connector
from agent.credentials import HttpCredentials
from agent.errors import NotFound, Unsupported

MOST_INDEX_BYTES = 8 * 1024 * 1024


class HttpArtifactStore:
    """Reads what lies below one root ``https://host/path``, and nothing else of any host.

    A redirect is never followed. The segments of a URI are names as they stand: each is
    percent-encoded on its way, so that none of them means more than a name to the server. A level
    is listed where the server has an index of it; each page asks for the whole index again.
    """

    type = "http"

    def __init__(
        self,
        name: str,
        root: ArtifactUri,
        connector: Connector[HttpCredentials],
        *,
        block_bytes: BlockBytes,
    ) -> None:
        self.name = name
        self._root = root
        self._block_bytes = block_bytes
        self._client = HttpClient(name, connector)

    @asynccontextmanager
    async def open(
        self, uri: ArtifactUri, *, span: ByteRange | None = None, etag: str | None = None
    ) -> AsyncIterator[ResumingArtifact]:
        self._require_below_root(uri)
        if not uri.segments:
            raise NotFound
        source = await self._begin(uri, span, etag)
        again = partial(self._begin, uri, tries=1)
        artifact = ResumingArtifact(source, again, span, store_type=self.type)
        try:
            yield artifact
        finally:
            await artifact.close()

    async def list(self, uri: ArtifactUri, *, page_size: int, page_token: str | None) -> Page:
        """Return one page; of what a page of links names, neither size nor time is known.

        Raises:
            Unsupported: The server has no index of it, or a very large one.
        """
        require_page_size(page_size)
        self._require_below_root(uri)
        after = None if page_token is None else Position.parse(page_token)
        return await self._client.ask(
            lambda service: page_of(_index(uri, service), page_size=page_size, after=after)
        )

    async def check(self) -> str:
        """Ask for the root; that a server lists nothing is no failure."""
        try:
            await self.list(self._root, page_size=1, page_token=None)
        except Unsupported:
            return "the server answers, but does not list; whether it lets us read is not known"
        except NotFound:
            return "the server answers, with 404 for the root itself: nothing can be listed or read"
        return "the root can be listed"

    async def close(self) -> None:
        self._client.close()

    async def _begin(
        self, uri: ArtifactUri, span: ByteRange | None, etag: str | None, *, tries: int = 3
    ) -> BlockingSource:
        content = await self._client.ask(
            lambda service: open_content(service, _url(uri), span, etag),
            unwanted=Content.close,
            tries=tries,
        )
        return source_of(content, self._client, self._block_bytes())

    def _require_below_root(self, uri: ArtifactUri) -> None:
        if not uri.within(self._root):
            raise NotFound


def source_of(content: Content, client: HttpClient, block_bytes: int) -> BlockingSource:
    """Return a source that reads *content* in the threads of *client*."""
    return BlockingSource(
        content,
        client.threads,
        translated,
        size=content.size,
        etag=content.etag,
        media_type=content.media_type,
        block_bytes=block_bytes,
    )


def _url(uri: ArtifactUri) -> str:
    path = "/".join(quote(segment, safe="") for segment in uri.segments)
    return f"{uri.scheme}://{uri.bucket}/{path}"


def _index(uri: ArtifactUri, service: Service) -> list[Entry]:
    url = _url(uri) + ("/" if uri.segments else "")
    response = service.get(url)
    with response:
        if response.status_code == 403 and service.anonymous:
            raise Unsupported("this server does not list, or not to strangers")
        require_status(response)
        body = read_all(response, most=MOST_INDEX_BYTES)
    media_type = response.headers.get("Content-Type", "")
    return parse_index(body, media_type, url=response.url, uri=uri)
