"""What web servers say of a directory: nginx's JSON, and the pages of links that all of them make.

No server is asked here.
"""

import heapq
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from itertools import islice
from operator import itemgetter
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import Entry, Page
from agent.artifacts.paging import Position, child
from agent.errors import Unsupported

_ANCHOR = re.compile(r"<a(\s[^<>]*)>", re.IGNORECASE)
_HREF = re.compile(r"""\shref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))""", re.IGNORECASE)
MOST_ENTRIES = 50_000
"""Of one level. Each of its pages is made of all of them, since no server has pages of its own."""
MOST_VALUES = 10 * MOST_ENTRIES
"""Of one answer in JSON: an entry has some four fields, and a comma in its time."""
_NO_INDEX = "this server does not list: its answer is no index of a directory"


def parse_index(body: bytes, media_type: str, *, url: str, uri: ArtifactUri) -> list[Entry]:
    """Return the entries of *uri*, in no particular order, of an answer of its server.

    *url* is where the answer came from, with a slash at its end. A link counts if it leads to what
    lies directly below. Names that no URI can hold are left out.

    Raises:
        Unsupported: It is neither JSON as nginx writes it nor HTML, or has more entries, or links,
            than `MOST_ENTRIES`.
    """
    kind = media_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        require_few_values(body)
        return list(_of_json(_text(body), uri))
    if kind in ("text/html", "application/xhtml+xml"):
        text = _text(body)
        require_few(sum(1 for _ in islice(_ANCHOR.finditer(text), MOST_ENTRIES + 1)))
        return list(_of_links(_links(text), url, uri))
    raise Unsupported(_NO_INDEX)


def require_few(entries: int) -> None:
    """Refuse a level with more entries than are sorted anew for each page.

    Raises:
        Unsupported: They are more than `MOST_ENTRIES`.
    """
    if entries > MOST_ENTRIES:
        raise Unsupported(f"the directory has more than {MOST_ENTRIES} entries; name a smaller one")


def require_few_values(body: bytes) -> None:
    """Refuse JSON that would need many times its own size in memory, without parsing it.

    Raises:
        Unsupported: It may have more than `MOST_VALUES` values.
    """
    if sum(body.count(sign) for sign in (b",", b"{", b"[")) > MOST_VALUES:
        raise Unsupported(
            f"the server's answer has more than {MOST_VALUES} values, or {MOST_ENTRIES} entries"
        )


def page_of(entries: Iterable[Entry], *, page_size: int, after: Position | None) -> Page:
    """Return the page behind *after* of a whole level, whatever the order of *entries*."""
    start = "" if after is None else after.order
    placed = ((Position.after(entry).order, entry) for entry in entries)
    behind = (pair for pair in placed if pair[0] > start)
    found = [entry for _, entry in heapq.nsmallest(page_size + 1, behind, key=itemgetter(0))]
    page = tuple(found[:page_size])
    return Page(page, Position.after(page[-1]).token if len(found) > page_size else None)


def _text(body: bytes) -> str:
    # Names need not be UTF-8: those that are not come out with characters that no URI can hold.
    return body.decode("utf-8", "surrogateescape")


def _of_json(text: str, uri: ArtifactUri) -> Iterator[Entry]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unsupported(_NO_INDEX) from None
    if not isinstance(found, list):
        raise Unsupported(_NO_INDEX)
    require_few(len(found))
    for item in found:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise Unsupported(_NO_INDEX)
        below = child(uri, item["name"])
        if below is not None:
            yield _entry(below, item)


def _entry(uri: ArtifactUri, item: dict[str, Any]) -> Entry:
    if item.get("type") == "directory":
        return Entry(uri, "directory")
    size = item.get("size")
    known = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return Entry(uri, "file", size if known else None, _time(item.get("mtime")))


def _time(text: object) -> datetime | None:
    try:
        return parsedate_to_datetime(str(text)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _links(text: str) -> Iterator[str]:
    """Yield what each anchor leads to, in time that grows with the text alone.

    The standard library's parser takes hours for some megabytes of ``<a <a <a``, and who stores
    artifacts may well store an index.html.
    """
    for anchor in _ANCHOR.finditer(text):
        href = _HREF.search(anchor[1])
        if href is not None:
            yield unescape(href[1] or href[2] or href[3] or "")


def _of_links(links: Iterable[str], url: str, uri: ArtifactUri) -> Iterator[Entry]:
    level = urlsplit(url)
    above = [unquote(segment) for segment in level.path.split("/")[:-1]]
    seen = set()
    for link in links:
        name = _name(link, url, origin=(level.scheme, level.netloc), above=above)
        below = None if name is None else child(uri, name.removesuffix("/"))
        if name is not None and below is not None and name not in seen:
            seen.add(name)
            yield Entry(below, "directory" if name.endswith("/") else "file")


def _name(link: str, url: str, *, origin: tuple[str, str], above: list[str]) -> str | None:
    """Return the name that *link* has directly below *url*, with a directory's slash."""
    try:
        target = urlsplit(urljoin(url, link))
    except ValueError:
        return None
    if (target.scheme, target.netloc) != origin or target.query or target.fragment:
        return None
    segments = target.path.split("/")
    slash = "/" if segments[-1] == "" else ""
    *parents, name = [
        unquote(part, errors="surrogateescape") for part in (segments[:-1] if slash else segments)
    ]
    return f"{name}{slash}" if parents == above and "/" not in name else None
