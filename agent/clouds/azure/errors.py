"""Turns the errors of Azure's SDKs into ours, in one place, for Blob Storage and for logins."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.errors import (
    AccessDenied,
    BadParameters,
    Changed,
    JobError,
    NotFound,
    StoreUnavailable,
    Unsupported,
)

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError

_BY_STATUS: Mapping[int, type[JobError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    412: Changed,
    416: BadParameters,
}
# Azure says 400 of credentials whose form it does not know, and of names that nothing can have.
_BY_CODE: Mapping[str, type[JobError]] = {
    "AuthenticationFailed": AccessDenied,
    "InvalidAuthenticationInfo": AccessDenied,
    "InvalidResourceName": NotFound,
    "InvalidUri": NotFound,
}
_ARCHIVED = "BlobArchived"


@contextmanager
def translated() -> Iterator[None]:
    """Raise a `JobError` for what an SDK of Azure raises.

    Neither its text nor the exception itself goes further: they hold the request, with the
    signature that a SAS puts into the address. What remains in `detail` is Azure's error code.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    from agent.http_session import TransferError

    try:
        yield
    except HttpResponseError as error:
        raise _ours(error) from None
    except (AzureError, TransferError, OSError) as error:
        # The SDK lets some errors of ``requests`` through, which are OSErrors.
        raise StoreUnavailable(detail=f"no answer: {type(error).__name__}") from None
    except ValueError:
        raise StoreUnavailable(detail="the answer is not one of Azure") from None


def _ours(error: "HttpResponseError") -> JobError:
    status = error.status_code
    if status is None:
        return StoreUnavailable(detail="the answer ended too early")
    code = _code(error)
    if code == _ARCHIVED:
        return Unsupported("the artifact is archived; it can be read when it is brought back")
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, StoreUnavailable)
    return kind(detail=f"Azure answered {status} {code}".rstrip())


def _code(error: "HttpResponseError") -> str:
    # Blob Storage has its codes in a header, other services in the body.
    code = getattr(error, "error_code", None) or getattr(error.error, "code", None) or ""
    return str(getattr(code, "value", code))
