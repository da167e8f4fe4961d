"""Artifacts that an MLflow tracking server knows, by run and by registered model.

Which question finds them stands in `server`, and where they are in `locating`.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import BlockBytes, ByteRange, Entry, Located, Page
from agent.artifacts.blocking import BlockingSource
from agent.artifacts.http.client import HttpClient, Service
from agent.artifacts.http.content import Content, open_content
from agent.artifacts.http.index import page_of, require_few
from agent.artifacts.http.store import source_of
from agent.artifacts.mlflow import server
from agent.artifacts.mlflow.locating import Proxied, locate
from agent.artifacts.paging import Position, child, require_page_size
from agent.artifacts.resuming import ResumingArtifact
from agent.connectors.base import Connector
from agent.credentials import HttpCredentials
from agent.errors import Changed, NotFound

if TYPE_CHECKING:
    from agent.http_session import Response

ANSWER_SECONDS = 600.0
"""MLflow fetches the whole file from its own store before it answers with the first byte."""


class MlflowArtifactStore:
    """Reads ``mlflow://NAME/runs/RUN/PATH`` and ``mlflow://NAME/models/m-ID/PATH``.

    A `Catalog`: bytes that MLflow keeps in a store of its own are read through the tracking server,
    by the name of the run or logged model that owns them and by no other; of all others, and of
    ``mlflow://NAME/models/MODEL/VERSION/PATH``, it only says where they are. It names no versions
    of a file, so that a transfer that breaks is not resumed.
    """

    type = "mlflow"

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

    async def locate(self, uri: ArtifactUri) -> Located:
        """Return where the bytes are, in the words of MLflow, or by which other name of this store.

        Raises:
            Unsupported: They are where no agent reads, or MLflow would read another path, or what
                belongs to no run and no logged model.
        """
        self._require_below_root(uri)
        place = await self._client.ask(lambda service: locate(service, uri))
        return Located(uri if isinstance(place, Proxied) else place)

    @asynccontextmanager
    async def open(
        self, uri: ArtifactUri, *, span: ByteRange | None = None, etag: str | None = None
    ) -> AsyncIterator[ResumingArtifact]:
        """Open what the tracking server itself hands out.

        Raises:
            Changed: Besides, always when *etag* is given.
        """
        self._require_below_root(uri)
        source = await self._begin(uri, span, etag)
        artifact = ResumingArtifact(source, partial(self._begin, uri), span, store_type=self.type)
        try:
            yield artifact
        finally:
            await artifact.close()

    async def list(self, uri: ArtifactUri, *, page_size: int, page_token: str | None) -> Page:
        """Return one page; each asks for the whole level again, since MLflow has no pages.

        MLflow knows no empty directories, nor whether there is one.
        """
        require_page_size(page_size)
        self._require_below_root(uri)
        after = None if page_token is None else Position.parse(page_token)
        return await self._client.ask(
            lambda service: page_of(_level(uri, service), page_size=page_size, after=after)
        )

    async def check(self) -> str:
        await self._client.ask(server.require_experiments)
        return "the tracking server answers, and experiments can be read"

    async def close(self) -> None:
        self._client.close()

    async def _begin(
        self, uri: ArtifactUri, span: ByteRange | None, etag: str | None
    ) -> BlockingSource:
        if etag is not None:
            raise Changed(detail="MLflow names no versions, so that no reading goes on")
        content = await self._client.ask(partial(_open, uri, span), unwanted=Content.close)
        return source_of(content, self._client, self._block_bytes())

    def _require_below_root(self, uri: ArtifactUri) -> None:
        if not uri.within(self._root):
            raise NotFound


def _open(uri: ArtifactUri, span: ByteRange | None, service: Service) -> Content:
    place = _proxied(service, uri)
    if not place.path:
        raise NotFound
    endpoint, parameters = place.file_request
    content = open_content(
        service,
        server.url(service, endpoint),
        span,
        None,
        params=parameters,
        require=partial(_require_file, service, place),
        answer_seconds=ANSWER_SECONDS,
    )
    # MLflow's ETag is that of a copy which it makes for each answer.
    content.etag = ""
    return content


def _proxied(service: Service, uri: ArtifactUri) -> Proxied:
    place = locate(service, uri)
    if not isinstance(place, Proxied):
        raise Changed(detail="MLflow says that the artifact is elsewhere, or has another name")
    return place


def _require_file(
    service: Service, place: Proxied, response: "Response", wanted: Collection[int]
) -> None:
    """Return if the status is one of *wanted*; MLflow says 400 of a directory, 500 of nothing."""
    if response.status_code == 400:
        raise NotFound
    if response.status_code == 500:
        level = _files(service, replace(place, path=place.path[:-1]))
        if (place.path[-1], False) not in {(name, is_dir) for name, is_dir, _ in level}:
            raise NotFound
    server.require(response, wanted)


def _level(uri: ArtifactUri, service: Service) -> list[Entry]:
    place = _proxied(service, uri)
    files = _files(service, place)
    if place.path and not files:
        raise NotFound
    entries = []
    for name, is_dir, size in files:
        below = child(uri, name)
        if below is not None:
            entries.append(Entry(below, "directory") if is_dir else Entry(below, "file", size))
    return entries


def _files(service: Service, place: Proxied) -> list[tuple[str, bool, int | None]]:
    """Return name, whether it is a directory, and size of what lies there.

    Raises:
        StoreUnavailable: The answer is not one of MLflow's.
        Unsupported: They are too many.
    """
    found = server.ask(service, *place.level_request).get("files", [])
    if not isinstance(found, list):
        raise server.not_mlflow()
    require_few(len(found))
    return [_file(item) for item in found]


def _file(item: Any) -> tuple[str, bool, int | None]:
    path = item.get("path") if isinstance(item, dict) else None
    if not isinstance(path, str):
        raise server.not_mlflow()
    size = item.get("file_size")
    known = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return path.rpartition("/")[2], item.get("is_dir") is True, size if known else None
