"""The checksums that S3 keeps of objects, which obstore does not show. Nothing is compared here."""

import asyncio
import base64
import binascii
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any

from agent.artifacts.s3.address import Address
from agent.artifacts.verifying import DIGESTS, Checksum
from agent.clouds.aws.signing import signed_headers
from agent.credentials import AwsCredentials
from agent.telemetry.logs import get_logger
from agent.threads import Threads

LEAST_BYTES = 1024 * 1024
"""Of an object whose checksum is asked for: that is a request more, beside the transfer."""
ANSWER_SECONDS = 5.0

log = get_logger()


class StoredChecksums:
    """Asks S3 for checksums, in threads of its own. Safe for concurrent calls."""

    def __init__(self, store: str) -> None:
        self._threads = Threads(f"checksums.{store}")

    def ask(
        self, bucket: str, key: str, etag: str, credentials: AwsCredentials
    ) -> "asyncio.Future[Checksum | None]":
        """Begin to ask for the checksum of the version *etag*, and return at once.

        None is the answer when S3 keeps none of the whole object, when nothing here computes its
        algorithm, and when there was no good answer: then a transfer goes without.
        """
        return self._threads.start(lambda: _asked(bucket, key, etag, credentials))

    def close(self) -> None:
        """Ask no more; idempotent."""
        self._threads.close()


def _asked(bucket: str, key: str, etag: str, credentials: AwsCredentials) -> Checksum | None:
    address = Address.of(bucket, credentials)
    wanted = {"if-match": etag, "x-amz-checksum-mode": "ENABLED"}
    if credentials.s3.requester_pays:
        wanted["x-amz-request-payer"] = "requester"
    url, now = address.url_of(key), datetime.now(UTC)
    headers = signed_headers(
        "HEAD", url, wanted, region=address.region, credentials=credentials, now=now
    )
    # obstore has been there: the scheme is one of the web.
    request = urllib.request.Request(url, headers=headers, method="HEAD")  # noqa: S310
    try:
        with _opener(credentials).open(request, timeout=ANSWER_SECONDS) as answer:
            return full_object_checksum(answer.headers)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        log.debug("checksum.unknown", why=refusal.code)
    except (OSError, HTTPException) as failure:
        log.debug("checksum.unknown", why=type(failure).__name__)
    return None


def full_object_checksum(headers: Mapping[str, str] | HTTPMessage) -> Checksum | None:
    """Return the cheapest checksum that covers all bytes; those of parts can't be compared."""
    kind = headers.get("x-amz-checksum-type", "FULL_OBJECT")
    for algorithm in DIGESTS if kind == "FULL_OBJECT" else ():
        text = headers.get(f"x-amz-checksum-{algorithm}")
        # Stores that don't tell the type mark checksums of parts by their number: "...==-3".
        if text is not None and "-" not in text:
            try:
                return Checksum(algorithm, base64.b64decode(text, validate=True))
            except binascii.Error:
                break
    kept = sorted(name for name in map(str.lower, headers) if name.startswith("x-amz-checksum-"))
    log.debug("checksum.unknown", why="nothing to compare", kept=kept)
    return None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Answer that there is none: what is signed for one host is for no other."""


def _opener(credentials: AwsCredentials) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if not (credentials.endpoint_url or "").startswith("http://"):
        handlers.append(urllib.request.HTTPSHandler(context=_tls(credentials.ca_file)))
    return urllib.request.build_opener(*handlers)


@cache
def _tls(ca_file: Path | None) -> ssl.SSLContext:
    tls = ssl.create_default_context()
    if ca_file is not None:
        tls.load_verify_locations(ca_file)
    return tls
