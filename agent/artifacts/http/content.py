"""The bytes of one resource, by one GET. Who asks again, and with what, is not known here."""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING

from agent.artifacts.base import BEHIND_THE_END, ByteRange
from agent.artifacts.http.client import ANSWER_SECONDS, Service, require_plain
from agent.artifacts.http.errors import require_status
from agent.errors import BadParameters, Changed, StoreUnavailable, Unsupported

if TYPE_CHECKING:
    from agent.http_session import Response

_DISCARDED_AT_ONCE = 256 * 1024
_STRONG = re.compile(r'"[\x21\x23-\x7e]{0,500}"')
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_A_SECOND = timedelta(seconds=1)

Require = Callable[["Response", Collection[int]], None]
"""Returns where the status is one of those given, and raises what any other one means."""


class Content:
    """A `Reader` of the bytes of a range, as they stand in the server, of one version.

    *etag* is empty where the server names no version.
    """

    def __init__(self, response: "Response", span: ByteRange | None, *, etag: str) -> None:
        self.etag = etag
        self.media_type: str | None = response.headers.get("Content-Type")
        self.size, self._skip, self._left = _extent(response, span)
        self._response = response

    def read(self, size: int, /) -> bytes:
        while self._skip > 0:
            ignored = self._raw_read(min(self._skip, _DISCARDED_AT_ONCE))
            if not ignored:
                return b""
            self._skip -= len(ignored)
        data = self._raw_read(min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        from agent.http_session import cut_off

        cut_off(self._response)

    def _raw_read(self, size: int) -> bytes:
        data: bytes = self._response.raw.read(size, decode_content=False)
        return data


def open_content(
    service: Service,
    url: str,
    span: ByteRange | None,
    etag: str | None,
    *,
    params: Mapping[str, str] | None = None,
    require: Require = require_status,
    answer_seconds: float = ANSWER_SECONDS,
) -> Content:
    """Ask for the bytes of *span*, with *etag* only of that version. Blocks.

    A server that knows no ranges sends everything, and what lies before the range is read and
    dropped.

    Raises:
        Changed: The answer is of another version, or of one that can't be told from others.
        BadParameters: *span* begins behind the last byte.
        Unsupported: The server does not say how large the resource is, or encodes it.
        StoreUnavailable: The answer is of no use. Besides, what *require* raises.
    """
    headers = _conditions(span, etag)
    get = partial(service.get, url, params=params, answer_seconds=answer_seconds)
    response = get(headers=headers)
    if response.status_code == 416 and span is not None and span.first == 0:
        # An empty resource has no range, not even one that begins at its first byte.
        response.close()
        del headers["Range"]
        response = get(headers=headers)
    try:
        _require_range(response)
        require(response, (200, 206) if "Range" in headers else (200,))
        require_plain(response)
        return Content(response, span, etag=_required_version(response, etag))
    except BaseException:
        response.close()
        raise


def _conditions(span: ByteRange | None, etag: str | None) -> dict[str, str]:
    """Return headers that spare an answer of no use; what the server makes of them is checked."""
    headers = {}
    if span is not None:
        headers["Range"] = f"bytes={span.first}-{'' if span.last is None else span.last}"
    if etag is not None and _STRONG.fullmatch(etag):
        headers["If-Match"] = etag
    return headers


def _require_range(response: "Response") -> None:
    if response.status_code == 416:
        raise BadParameters(BEHIND_THE_END)


def _required_version(response: "Response", etag: str | None) -> str:
    found = _version(response.headers)
    if etag is not None and (not found or etag != found):
        raise Changed(detail=f"version {found or 'without a name'}, and not {etag}")
    return found


def _version(headers: Mapping[str, str]) -> str:
    """Return what names this very version, byte for byte.

    That is a strong ETag. A time names a version if it lies back for so long that a second change
    within the same second would have been seen (RFC 9110, 8.8.2.2).
    """
    etag = headers.get("ETag", "")
    if _STRONG.fullmatch(etag):
        return etag
    modified, now = _date(headers, "Last-Modified"), _date(headers, "Date")
    if modified is not None and now is not None and modified + _A_SECOND <= now:
        return f"modified {modified.isoformat()}"
    return ""


def _date(headers: Mapping[str, str], name: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(headers[name])
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None


def _extent(response: "Response", span: ByteRange | None) -> tuple[int, int, int]:
    """Return the size of the whole, how much of the body to skip, and how much then to read."""
    if response.status_code == 206:
        first, last, size = _content_range(response)
        if span is None or first != span.first or last >= size:
            raise StoreUnavailable(detail="the server answered with another range")
        skip = 0
    else:
        size = _content_length(response)
        skip = span.first if span is not None else 0
    if skip >= size and skip > 0:
        raise BadParameters(BEHIND_THE_END)
    end = size if span is None or span.last is None else min(size, span.last + 1)
    return size, skip, end - (span.first if span is not None else 0)


def _content_range(response: "Response") -> tuple[int, int, int]:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None:
        raise StoreUnavailable(detail="the server's answer has no Content-Range to make sense of")
    first, last, size = (int(number) for number in found.groups())
    return first, last, size


def _content_length(response: "Response") -> int:
    length = response.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit() and len(length) <= 18):
        raise Unsupported("the server does not say how large the artifact is")
    return int(length)
