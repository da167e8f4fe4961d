"""What a job's handler yields. It knows no frames, no sockets and no journal."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from agent.errors import Outcome, Reason


@dataclass(frozen=True, slots=True)
class Content:
    """Announces the data to come, before the first block; at most once."""

    size: int
    """Bytes that will be sent in all, those that the receiver already has included."""
    etag: str
    media_type: str | None


@dataclass(frozen=True, slots=True)
class Data:
    """The next bytes of the content, in order."""

    block: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Log:
    """Text of a log; *offset* and *end* are positions in that log, in bytes."""

    text: str
    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is, where data does not show it."""

    done: int
    of: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The answer; the last output. Without it the job has failed.

    *sha256* is the hex digest of the whole content, where the handler sent data. A run that ended
    badly is an answer too: it has another outcome, a reason, and still a value.
    """

    value: Mapping[str, JsonValue]
    sha256: str | None = None
    outcome: Outcome = Outcome.SUCCEEDED
    reason: Reason | None = None
    message: str = ""


Output = Content | Data | Log | Progress | Result
