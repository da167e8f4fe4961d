"""Artifact versions by their ids: ``zenml://NAME/UUID/path``. Their bytes lie in other stores.

The server is the customer's own, but whoever may write to it says where an artifact is: what it
answers is checked in shape and size here, and by the policy behind `locate`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from agent.artifact_uri import ArtifactUri
from agent.artifacts.asking import ask
from agent.artifacts.base import Artifact, ByteRange, Located, Page
from agent.connectors.base import Connector
from agent.credentials import HttpCredentials
from agent.errors import NotFound, StoreUnavailable, Unsupported
from agent.http_session import KeptSession
from agent.json_service import ask_json
from agent.threads import Threads

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_THREADS = 4
_NO_BYTES = "this store holds no bytes itself; name an artifact version"


class ZenmlArtifactStore:
    """Knows where the artifact versions of one server are, and holds no bytes.

    What lies below a version has its path below the version's own place.
    """

    type = "zenml"

    def __init__(self, name: str, root: ArtifactUri, connector: Connector[HttpCredentials]) -> None:
        self.name = name
        self._root = root
        self._connector = connector
        self._threads = Threads("zenml", size=_THREADS)
        self._session = KeptSession()

    async def locate(self, uri: ArtifactUri) -> Located:
        version, *path = uri.segments[len(self._root.segments) :] or [""]
        if not uri.within(self._root) or not _UUID.fullmatch(version.lower()):
            raise NotFound
        found = await self._ask(f"artifact_versions/{version.lower()}?hydrate=true")
        place = _place(_text(found, "body", "uri"), path)
        return Located(place, frozenset() if path else frozenset(_previews(found)))

    def open(
        self,
        uri: ArtifactUri,  # noqa: ARG002
        *,
        span: ByteRange | None = None,  # noqa: ARG002
        etag: str | None = None,  # noqa: ARG002
    ) -> AbstractAsyncContextManager[Artifact]:
        """Raise Unsupported: bytes are read where `locate` says that they are."""
        raise Unsupported(_NO_BYTES)

    async def list(
        self,
        uri: ArtifactUri,  # noqa: ARG002
        *,
        page_size: int,  # noqa: ARG002
        page_token: str | None,  # noqa: ARG002
    ) -> Page:
        """Raise Unsupported, as `open` does."""
        raise Unsupported(_NO_BYTES)

    async def check(self) -> str:
        info = await self._ask("info")
        version = info.get("version")
        await self._ask("current-user")
        return (
            f"the ZenML server {version if isinstance(version, str) else ''} lets us read".strip()
        )

    async def close(self) -> None:
        self._threads.close()
        self._session.close()

    async def _ask(self, path: str) -> dict[str, Any]:
        async def request(credentials: HttpCredentials) -> dict[str, Any]:
            return await self._threads.run(lambda: self._get(credentials, path))

        return await ask(self._connector, request, store=self.name)

    def _get(self, credentials: HttpCredentials, path: str) -> dict[str, Any]:
        header = credentials.authorization
        return ask_json(
            self._session.get(credentials.ca_file),
            "GET",
            f"{(credentials.endpoint_url or '').rstrip('/')}/api/v1/{path}",
            headers={"Authorization": header.reveal()} if header else {},
        )


def _place(text: str, path: Sequence[str]) -> ArtifactUri:
    try:
        return ArtifactUri.parse("/".join([text.rstrip("/"), *path]))
    except ValueError as error:
        raise Unsupported(detail=f"the place of the artifact is no URI for us: {error}") from None


def _previews(found: dict[str, Any]) -> Iterator[ArtifactUri]:
    """Yield the files that ZenML shows of a version; one that is no URI is not ours to mind."""
    listed = _piece(found, "metadata", "visualizations")
    for one in listed if isinstance(listed, list) else []:
        uri = _piece(one, "body", "uri")
        with suppress(ValueError):
            yield ArtifactUri.parse(uri if isinstance(uri, str) else "")


def _text(found: dict[str, Any], *names: str) -> str:
    piece = _piece(found, *names)
    if not isinstance(piece, str):
        raise StoreUnavailable(detail=f"the ZenML server's answer lacks {'.'.join(names)}")
    return piece


def _piece(found: object, *names: str) -> object:
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found
