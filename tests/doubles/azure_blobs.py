"""A double of how Blob Storage lists, for what Azurite does not do: it can begin at a name.

Its markers are known to it alone, and it may keep its names in the order of a data lake.
"""

import uuid
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from tests.doubles.azure import Answer, Asked

Order = Callable[[str], str]


def flat(name: str) -> str:
    """The order of names as they stand."""
    return name


def lake(name: str) -> str:
    """The order in which a slash comes before everything else."""
    return name.replace("/", "\0")


class BlobList:
    """Lists the blobs of one container; `asked` are the questions."""

    def __init__(self, names: Sequence[str], order: Order = flat) -> None:
        self.names = sorted(names, key=order)
        self.asked: list[Asked] = []
        self._order = order
        self._markers: dict[str, str] = {}

    def answer(self, asked: Asked) -> Answer | None:
        if asked.query.get("comp") != "list":
            return None
        self.asked.append(asked)
        page, following = self._page(asked)
        marker = ""
        if following is not None:
            marker = uuid.uuid4().hex
            self._markers[marker] = following
        elements = "".join(_element(name) for name in page)
        body = (
            '<?xml version="1.0"?><EnumerationResults ServiceEndpoint="" ContainerName="artifacts">'
            f"<Blobs>{elements}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
        )
        version = {key.lower(): value for key, value in asked.headers.items()}["x-ms-version"]
        headers = {"Content-Type": "application/xml", "x-ms-version": version}
        return Answer(200, body.encode(), headers)

    def _page(self, asked: Asked) -> tuple[list[str], str | None]:
        prefix = asked.query.get("prefix", "")
        start = self._markers.get(asked.query.get("marker", ""), asked.query.get("startFrom", ""))
        below = [name.removeprefix(prefix) for name in self.names if name.startswith(prefix)]
        level = dict.fromkeys(
            prefix + (f"{name.partition('/')[0]}/" if "/" in name else name) for name in below
        )
        rest = [name for name in level if self._order(name) >= self._order(start)]
        most = int(asked.query["maxresults"])
        return rest[:most], rest[most] if len(rest) > most else None


def _element(name: str) -> str:
    if name.endswith("/"):
        return f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>"
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>1</Content-Length>"
        "<BlobType>BlockBlob</BlobType>"
        "<Last-Modified>Mon, 01 Jan 2024 00:00:00 GMT</Last-Modified></Properties></Blob>"
    )
