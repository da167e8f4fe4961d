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
_BY_STATUS: Mapping[str | None, type[JobError]] = {
    "401": AccessDenied,
    "403": AccessDenied,
    "404": NotFound,
    "412": Changed,
    "416": BadParameters,
}
_CODE = r"<Code>(\w+)</Code>"
_STATUS = r"status code: (\d{3})"
_UNANSWERED = r"(error sending request)"
_ENDED_EARLY = ("UnexpectedEof", "IncompleteMessage", "IncompleteBody")


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
    code, status = _find(_CODE, text), _find(_STATUS, text)
    if code in _STALE_TOKEN:
        return AccessDenied(detail=code)
    if status in _BY_STATUS:
        return _BY_STATUS[status](detail=code or status)
    if any(sign in text for sign in _ENDED_EARLY):
        return Truncated()
    return StoreUnavailable(detail=code or status or _find(_UNANSWERED, text))


def _find(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None
