"""Turns obstore's errors into ours, in one place."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from agent.errors import (
    AccessDenied,
    BadParameters,
    Changed,
    JobError,
    NotFound,
    StoreUnavailable,
    Truncated,
    Unsupported,
)

# S3 says 400, not 401, of a session token whose time is over.
_STALE_TOKEN = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
# The classes of obstore's errors say less than the status: a listing that is refused is a
# GenericError, as is a range behind the end.
_BY_STATUS: Mapping[str, type[JobError]] = {
    "401": AccessDenied,
    "403": AccessDenied,
    "404": NotFound,
    "412": Changed,
    "416": BadParameters,
}
# Keys stand in the text too, and the control plane chooses them: whole lines only, which a key
# can't make, and of the answer's body only what comes after such a line.
_ANSWER = re.compile(r"^ +status: (\d{3}),$(?:.*?<Code>(\w+)</Code>)?", re.MULTILINE | re.DOTALL)
_ENDED_EARLY = re.compile(r"^ +(?:kind: UnexpectedEof|IncompleteMessage),$", re.MULTILINE)

_CAUSES = (
    "dns error",
    "ConnectionRefused",
    "UnknownIssuer",
    "InvalidCertificate",
    "InvalidMessage",
    "ConnectionReset",
    "TimedOut",
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise a `JobError` for what obstore raises.

    Neither its text nor the exception itself goes further: an answer of S3 may repeat the access
    key and the string that was signed. What remains in `detail` is S3's error code.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except TimeoutError:
        raise StoreUnavailable(detail="the store was silent for too long") from None
    except (BaseError, FileNotFoundError) as error:
        raise _ours(error) from None


def _ours(error: Exception) -> JobError:
    from obstore.exceptions import InvalidPathError

    if isinstance(error, InvalidPathError):
        return Unsupported("a key of this store cannot be named by a URI")
    text = str(error)
    answer = _ANSWER.search(text)
    if answer is None:
        return Truncated() if _ENDED_EARLY.search(text) else StoreUnavailable(detail=_cause(text))
    status, code = answer.groups()
    kind = AccessDenied if code in _STALE_TOKEN else _BY_STATUS.get(status, StoreUnavailable)
    return kind(detail=code or status)


def _cause(text: str) -> str:
    """Say for a person why there was no answer; obstore buries it in a dump of its structures."""
    named = next((cause for cause in _CAUSES if cause in text), "of unknown cause")
    return f"no answer: {named}"
