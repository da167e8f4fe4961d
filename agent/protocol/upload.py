"""The requests and answers by which content is uploaded, as README.md beside this file describes
them. No I/O; both ends use it."""

import json
import re
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

UPLOAD_PATH = "/agent/v1/upload"
"""Where the stub takes uploads; an agent goes where `welcome` says."""

LONGEST_ANSWER = 4096
LONGEST_RETRY_AFTER = 3600.0
_SCHEMES = {"wss": "https", "ws": "http"}
_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19})\Z", re.ASCII)


class Verdict(Enum):
    """What an answer has the agent do next."""

    TAKEN = auto()
    """Everything up to `offset` is in safe hands."""
    OUT_OF_STEP = auto()
    """Ask for the offset, and go on from there."""
    LATER = auto()
    """Ask again after a while."""
    UNWANTED = auto()
    """End the job: nobody takes its content any more."""
    BLOCKS = auto()
    """Send the rest in blocks: here it can't be sent."""


VERDICTS = {
    **dict.fromkeys((409, 416), Verdict.OUT_OF_STEP),
    **dict.fromkeys((408, 425, 429, 500, 502, 503, 504), Verdict.LATER),
    410: Verdict.UNWANTED,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as the agent understood it; *retry_after* is in seconds."""

    verdict: Verdict
    status: int
    offset: int = 0
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """The bytes from *first* to *stop*, not included, of *size*; none of them only asks."""

    first: int
    stop: int
    size: int

    @property
    def asks(self) -> bool:
        return self.first == self.stop

    def content_range(self) -> str:
        """Return the value of the header Content-Range."""
        span = "*" if self.asks else f"{self.first}-{self.stop - 1}"
        return f"bytes {span}/{self.size}"


def read_content_range(text: str) -> Segment | None:
    """Return what a Content-Range names, None when it is none of ours."""
    match = _RANGE.match(text)
    if match is None:
        return None
    size = int(match[3])
    if match[1] is None:
        return Segment(0, 0, size)
    segment = Segment(int(match[1]), int(match[2]) + 1, size)
    return segment if segment.first < segment.stop <= size else None


def upload_url(connect_url: str, path: str, job: str) -> str:
    """Return where the content of *job* goes: *path* on the host, port and kind of scheme that
    the agent dialled."""
    dialled = urlsplit(connect_url)
    return f"{_SCHEMES[dialled.scheme]}://{dialled.netloc}{path}/{job}"


def taken(offset: int) -> str:
    """Return the body of an answer that everything up to *offset* is in safe hands."""
    return json.dumps({"offset": offset})


def understand(status: int, body: bytes, *, retry_after: str | None = None) -> Answer:
    """Return what an answer means. All of it comes from the network and may be anything."""
    told = _object(body)
    wait = _seconds(told.get("retry_after"))
    if wait is None and retry_after is not None and re.fullmatch(r"[0-9]{1,5}", retry_after):
        wait = min(float(retry_after), LONGEST_RETRY_AFTER)
    if not 200 <= status < 300:
        return Answer(VERDICTS.get(status, Verdict.BLOCKS), status, retry_after=wait)
    offset = told.get("offset")
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < 2**63:
        # A page of somebody who stands in between, as for logging in.
        return Answer(Verdict.BLOCKS, status)
    return Answer(Verdict.TAKEN, status, offset)


def _object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body) if len(body) <= LONGEST_ANSWER else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    # Bounded before it becomes a float: an integer may be too large for one.
    return float(min(max(value, 0), LONGEST_RETRY_AFTER))
