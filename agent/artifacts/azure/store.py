"""Artifacts in Azure Blob Storage and Azure Data Lake Storage, by azure-storage-blob.

How a level is listed, a blob read in pieces and its content compared stands in the files beside
this one; clients and errors are shared with the login to Azure.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from agent.artifact_uri import ArtifactUri
from agent.artifacts.asking import ask
from agent.artifacts.azure.content import require_digest
from agent.artifacts.azure.listing import Level, Markers, is_folder
from agent.artifacts.azure.pieces import Piece, PieceSource
from agent.artifacts.base import BEHIND_THE_END, Artifact, BlockBytes, ByteRange, Page
from agent.artifacts.paging import Position, require_page_size
from agent.artifacts.resuming import ResumingArtifact
from agent.artifacts.verifying import Checksum, VerifiedArtifact, known
from agent.clouds.azure.blob_service import service_client, session_with
from agent.clouds.azure.errors import translated
from agent.clouds.azure.places import account_of
from agent.connectors.base import Connector
from agent.credentials import AzureCredentials
from agent.errors import BadParameters, Changed, CredentialUnavailable, NotFound
from agent.retrying import TRIES
from agent.threads import Threads

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineResponse
    from azure.storage.blob import BlobProperties, ContainerClient

    from agent.http_session import HttpSession

T = TypeVar("T")


class AzureArtifactStore:
    """Reads what lies below one root with the credentials of one connector.

    The root is ``az://container/path``, or ``abfss://container@account.dfs…/path``, where both
    speak to the account of the connector. One set of connections serves all jobs.
    """

    type = "azure"

    def __init__(
        self,
        name: str,
        root: ArtifactUri,
        connector: Connector[AzureCredentials],
        *,
        block_bytes: BlockBytes,
    ) -> None:
        self.name = name
        self._root = root
        self._container = root.bucket.partition("@")[0]
        self._connector = connector
        self._block_bytes = block_bytes
        self._threads = Threads(f"azure-{name}")
        self._markers = Markers()
        self._session: HttpSession | None = None
        self._client: tuple[AzureCredentials, ContainerClient] | None = None
        self._making = Lock()

    @asynccontextmanager
    async def open(
        self, uri: ArtifactUri, *, span: ByteRange | None = None, etag: str | None = None
    ) -> AsyncIterator[Artifact]:
        self._require_below_root(uri)
        if not uri.key:
            raise NotFound
        source = await self._begin(uri.key, span, etag, tries=TRIES)
        begin = partial(self._begin, uri.key)
        resuming = ResumingArtifact(source, begin, span, store_type=self.type)
        try:
            kept = Checksum("md5", source.md5) if span is None and source.md5 else None
            yield VerifiedArtifact(resuming, known(kept))
        finally:
            await resuming.close()

    async def list(self, uri: ArtifactUri, *, page_size: int, page_token: str | None) -> Page:
        """Return one page; an empty prefix is not found, except for the root itself."""
        require_page_size(page_size)
        self._require_below_root(uri)
        after = None if page_token is None else Position.parse(page_token)
        level = Level(uri, page_size, after, self._markers.behind(uri, after))
        page, marker = await self._ask(level.read)
        self._markers.remember(uri, page, marker)
        if not page.entries and after is None and uri != self._root:
            raise NotFound
        return page

    async def check(self) -> str:
        await self.list(self._root, page_size=1, page_token=None)
        return "the container can be listed"

    async def close(self) -> None:
        self._threads.close()
        self._client = None
        session, self._session = self._session, None
        if session is not None:
            session.close()

    async def _begin(
        self, key: str, span: ByteRange | None, etag: str | None, *, tries: int = 1
    ) -> PieceSource:
        """Read the first piece of *span*, and be ready to read the others of that version."""
        piece_bytes = self._block_bytes()
        position = span.first if span else 0
        last = span.last if span else None
        most = piece_bytes if last is None else min(piece_bytes, last + 1 - position)
        first = await self._piece(key, etag, position, most, tries=tries)
        return PieceSource(
            first,
            partial(self._piece, key, first.etag),
            position=position,
            end=first.size if last is None else last + 1,
            piece_bytes=piece_bytes,
        )

    async def _piece(
        self, key: str, etag: str | None, position: int, length: int, *, tries: int = TRIES
    ) -> Piece:
        try:
            return await self._ask(partial(_download, key, etag, position, length), tries=tries)
        except BadParameters:
            if position > 0:
                raise BadParameters(BEHIND_THE_END) from None
        # Azure has no range of an empty blob, not even one that begins at its first byte.
        return await self._ask(partial(_look_at, key, etag), tries=tries)

    async def _ask(self, request: Callable[["ContainerClient"], T], *, tries: int = TRIES) -> T:
        return await ask(
            self._connector,
            lambda credentials: self._threads.run(lambda: request(self._client_for(credentials))),
            store=self.name,
            tries=tries,
        )

    def _client_for(self, credentials: AzureCredentials) -> "ContainerClient":
        # Threads come here, and the first one has the SDK to load.
        with self._making:
            if self._client is None or self._client[0] != credentials:
                self._require_account(credentials)
                if self._session is None:
                    self._session = session_with(credentials.ca_file)
                service = service_client(credentials, self._session)
                self._client = (credentials, service.get_container_client(self._container))
            return self._client[1]

    def _require_account(self, credentials: AzureCredentials) -> None:
        """Refuse to read in one account what the root says is in another."""
        wanted, given = account_of(self._root), credentials.storage_account
        if wanted is not None and wanted != given:
            raise CredentialUnavailable(
                detail=f"connector {self._connector.name} is for account {given}, not {wanted}"
            )

    def _require_below_root(self, uri: ArtifactUri) -> None:
        if not uri.within(self._root):
            raise NotFound


def _download(
    key: str, etag: str | None, position: int, length: int, client: "ContainerClient"
) -> Piece:
    digests: list[str | None] = []

    def note_digest(response: "PipelineResponse[Any, Any]") -> None:
        digests.append(response.http_response.headers.get("Content-MD5"))

    with translated():
        download = client.download_blob(
            key,
            offset=position,
            length=length,
            # The SDK would ask for the same, and then compute it twice.
            headers={"x-ms-range-get-content-md5": "true"},
            raw_response_hook=note_digest,
            **_only(etag),
        )
        data = download.readall()
    size = int(str(download.properties.content_range).rpartition("/")[2])
    if position >= size:
        raise BadParameters
    require_digest(data, digests[-1])
    return _piece(data, size, etag, download.properties)


def _look_at(key: str, etag: str | None, client: "ContainerClient") -> Piece:
    with translated():
        properties = client.get_blob_client(key).get_blob_properties(**_only(etag))
    if is_folder(properties.metadata):
        raise NotFound
    return _piece(b"", properties.size, etag, properties)


def _only(etag: str | None) -> dict[str, Any]:
    from azure.core import MatchConditions

    if etag is None:
        return {}
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _piece(data: bytes, size: int, etag: str | None, properties: "BlobProperties") -> Piece:
    # The etag * stands for any.
    if etag is not None and properties.etag != etag:
        raise Changed
    settings = properties.content_settings
    md5 = settings.content_md5
    return Piece(data, size, properties.etag, settings.content_type, bytes(md5) if md5 else None)
