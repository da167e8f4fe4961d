"""Turns the errors of google-cloud-storage into ours, in one place."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.artifacts.base import BEHIND_THE_END
from agent.errors import (
    AccessDenied,
    BadParameters,
    Changed,
    JobError,
    NotFound,
    StoreUnavailable,
)
from agent.http_session import RequestException, Response, TransferError

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError

_BY_STATUS: Mapping[int, type[JobError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    412: Changed,
}
# Google says 403 of some things that only ask for patience.
_TOO_OFTEN = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"}
_REASON = re.compile(r"[A-Za-z]{1,64}")


@contextmanager
def translated() -> Iterator[None]:
    """Raise a `JobError` for what the library, our session and a body that is read raise.

    The texts of all of them hold the URL, and so the bucket and key; what remains in `detail` is
    the status and Google's word for the reason.
    """
    from google.api_core.exceptions import GoogleAPICallError

    try:
        yield
    except GoogleAPICallError as error:
        raise _ours(error) from None
    except (RequestException, TransferError) as error:
        raise StoreUnavailable(detail=f"no answer: {type(error).__name__}") from None


def _ours(error: "GoogleAPICallError") -> JobError:
    status, reason = int(error.code or 0), _reason(error)
    detail = f"{status} {reason}".strip()
    if status == 416:
        return BadParameters(BEHIND_THE_END, detail=detail)
    if reason in _TOO_OFTEN:
        return StoreUnavailable(detail=detail)
    return _BY_STATUS.get(status, StoreUnavailable)(detail=detail)


def _reason(error: "GoogleAPICallError") -> str:
    """Return Google's word for it; of a refused download the library keeps the answer alone."""
    entries = error.errors
    if not entries and isinstance(error.response, Response):
        with suppress(ValueError, TypeError, KeyError):
            entries = error.response.json()["error"]["errors"]
    for entry in entries:
        reason = entry.get("reason") if isinstance(entry, dict) else None
        if isinstance(reason, str) and _REASON.fullmatch(reason):
            return reason
    return ""
