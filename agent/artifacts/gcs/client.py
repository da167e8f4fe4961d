"""The border to google-cloud-storage: its requests over our session. No credentials are kept here.

The library is loaded by the first call; every function here blocks.
"""

import base64
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.artifacts.base import ByteRange
from agent.artifacts.verifying import Checksum
from agent.credentials import GcpCredentials
from agent.errors import Changed, StoreUnavailable
from agent.http_session import CONNECT_SECONDS, READ_SECONDS, HttpSession, Response, cut_off

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

TIMEOUT = (CONNECT_SECONDS, READ_SECONDS)
DEFAULT_ENDPOINT = "https://storage.googleapis.com"


class _Opened(Exception):
    def __init__(self, response: Response) -> None:
        super().__init__("an answer to be read in pieces")
        self.response = response


class _Session(HttpSession):
    """Hands over the answer to a download before the library reads it.

    The library only writes a download into a file, as fast as it comes. We read as slowly as our
    reader does, and no more than a block ahead.
    """

    def request(self, *args: Any, **kwargs: Any) -> Response:
        response = super().request(*args, **kwargs)
        if kwargs.get("stream"):
            if response.status_code in (200, 206):
                raise _Opened(response)
            # The library looks at the status alone, and would leave the connection as it is.
            with response:
                _ = response.content
        return response


def make_client(credentials: GcpCredentials) -> "Client":
    """Return a client with connections of its own, which sends the token of *credentials*.

    Everything that says where to go is given here, since the library would look for it in the
    environment. The token is the session's, as the library would try to renew it.

    Raises:
        StoreUnavailable: The file with the CA can't be read.
    """
    from google.cloud.storage import Client

    try:
        session = _Session(ca_file=credentials.ca_file)
    except OSError as error:
        detail = f"{credentials.ca_file}: {error.strerror or type(error).__name__}"
        raise StoreUnavailable(detail=detail) from None
    session.headers["Authorization"] = f"Bearer {credentials.token.reveal()}"
    endpoint = (credentials.endpoint_url or DEFAULT_ENDPOINT).rstrip("/")
    client = Client(
        project=credentials.project_id,
        _http=session,
        client_options={"api_endpoint": endpoint},
        use_auth_w_custom_endpoint=False,
    )
    # For traces that nobody takes it would ask for the bucket's metadata, in a thread of its own:
    # https://github.com/googleapis/google-cloud-python/issues/17650. What reads objects only may
    # not do that, and would fill the customer's audit log with refusals.
    client._bucket_metadata_cache = None  # noqa: SLF001  # there is no other way for one client
    return client


class Body:
    """The bytes of one answer, as they stand in the store: a gzip-encoded object is not unpacked.

    Of one version, which *generation* names.
    """

    def __init__(self, response: Response, *, span: ByteRange | None) -> None:
        headers = response.headers
        self._raw = response.raw
        self._response = response
        self.generation = headers.get("x-goog-generation", "")
        self.media_type: str | None = headers.get("content-type")
        self.checksum = _checksum(headers.get("x-goog-hash", ""))
        self.size = _size(response, span)

    def read(self, size: int, /) -> bytes:
        data: bytes = self._raw.read(size, decode_content=False)
        return data

    def close(self) -> None:
        cut_off(self._response)


def open_body(blob: "Blob", span: ByteRange | None, generation: int | None) -> Body:
    """Ask for the bytes of *span*, of the version *generation* where that is given.

    Raises:
        Changed: The store answers with another version.
        StoreUnavailable: The answer is of no use. Besides, what the library raises.
    """
    try:
        blob.download_to_file(
            io.BytesIO(),
            start=span.first if span else None,
            end=span.last if span else None,
            raw_download=True,
            if_generation_match=generation,
            timeout=TIMEOUT,
            checksum=None,
            retry=None,
        )
    except _Opened as opened:
        return _usable(opened.response, span, generation)
    raise AssertionError("a download ends with an answer or an error")


def _usable(response: Response, span: ByteRange | None, generation: int | None) -> Body:
    try:
        body = Body(response, span=span)
    except StoreUnavailable:
        response.close()
        raise
    # Not every service minds the condition of a download.
    if generation is not None and body.generation != str(generation):
        body.close()
        raise Changed
    return body


def _checksum(hashes: str) -> Checksum | None:
    """Return the one of the whole object, which Google names also beside a part of it."""
    for one in hashes.split(","):
        name, _, value = one.strip().partition("=")
        if name == "crc32c":
            with suppress(ValueError):
                return Checksum(name, base64.b64decode(value, validate=True))
    return None


def _size(response: Response, span: ByteRange | None) -> int:
    whole = span is None or (span.first == 0 and span.last is None)
    if response.status_code == 206:
        total = response.headers.get("content-range", "").rpartition("/")[2]
    else:
        total = response.headers.get("content-length", "") if whole else ""
    if not (total.isascii() and total.isdigit()):
        raise StoreUnavailable(detail="the answer does not say how large the object is")
    return int(total)
