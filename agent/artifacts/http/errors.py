"""Turns statuses, redirects and broken connections into our errors, in one place."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from agent.errors import (
    AccessDenied,
    Changed,
    JobError,
    NotFound,
    StoreUnavailable,
    Truncated,
)

if TYPE_CHECKING:
    from agent.http_session import Response

_BY_STATUS: Mapping[int, type[JobError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    410: NotFound,
    412: Changed,
    414: NotFound,
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise a `JobError` for what our session raises; no text of it goes further.

    They quote URLs, and of headers that can't be sent the value.
    """
    from agent.http_session import RequestException, TransferError, why

    try:
        yield
    except (RequestException, TransferError, OSError) as error:
        if any(type(argument).__name__ == "IncompleteRead" for argument in error.args):
            raise Truncated from None
        raise StoreUnavailable(detail=f"no answer: {why(error)}") from None


def require_status(response: "Response", wanted: Collection[int] = (200,)) -> None:
    """Return if the status of *response* is one of *wanted*; the caller closes it in any case.

    Raises:
        JobError: What another status means. A redirect is StoreUnavailable, but NotFound where it
            leads to the same name with or without a slash at its end: that is how servers say that
            something is a directory, or none.
    """
    status = response.status_code
    if status in wanted:
        return
    if 300 <= status < 400 and "Location" in response.headers:
        raise _redirected(response)
    raise _BY_STATUS.get(status, StoreUnavailable)(detail=f"the server answered {status}")


def _redirected(response: "Response") -> JobError:
    here = urlsplit(response.url)
    try:
        there = urlsplit(urljoin(response.url, response.headers["Location"]))
        origin = f"{there.scheme}://{there.hostname}"
    except ValueError:
        return StoreUnavailable(detail="the server answers with a redirect to no URL")
    own, other = unquote(here.path), unquote(there.path)
    if other == f"{own}/" or own == f"{other}/":
        return NotFound(detail="the server redirects to the name with or without a slash")
    # Only the origin: what stands behind it may be signed.
    detail = f"the server answers {response.status_code}, a redirect to {origin}, not followed"
    return StoreUnavailable(detail=detail)
