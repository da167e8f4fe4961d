"""Turns obstore's errors into ours, in one place."""

import re
from collections.abc import Iterator
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
    except FileNotFoundError as error:
        raise NotFound(detail=_code(str(error))) from None
    except BaseError as error:
        raise _ours(error) from None


def _ours(error: Exception) -> JobError:
    from obstore import exceptions

    text = str(error)
    code = _code(text)
    match error:
        case exceptions.PreconditionError():
            return Changed(detail=code)
        case exceptions.PermissionDeniedError() | exceptions.UnauthenticatedError():
            return AccessDenied(detail=code)
        case exceptions.InvalidPathError():
            return Unsupported("a key of this store cannot be named by a URI")
    if code in _STALE_TOKEN:
        return AccessDenied(detail=code)
    if "status code: 416 " in text:
        return BadParameters("the range begins behind the end of the artifact")
    if any(sign in text for sign in _ENDED_EARLY):
        return Truncated()
    return StoreUnavailable(detail=code)


def _code(text: str) -> str:
    """Find S3's error code, else the status, else what kept the request from being answered."""
    for pattern in (r"<Code>(\w+)</Code>", r"status code: (\d{3})", r"(error sending request)"):
        if found := re.search(pattern, text):
            return found[1]
    return "the answer was not understood"
