"""How requests of users fail: one shape of answer for everything."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import BaseModel

from agent.errors import Outcome, Reason
from control_plane_stub.jobs import Job

STATUS_OF_REASON = {
    Reason.POLICY_DENIED: 403,
    Reason.SIGNATURE_REJECTED: 403,
    Reason.ACCESS_DENIED: 403,
    Reason.NOT_FOUND: 404,
    Reason.BAD_PARAMETERS: 400,
    Reason.UNSUPPORTED: 400,
    Reason.TOO_LARGE: 413,
    Reason.BUSY: 429,
    Reason.DRAINING: 429,
    Reason.DEADLINE: 504,
}
OTHER_FAILURE = 502


class ErrorText(BaseModel):
    """What went wrong; *reason* is for programs, *message* for people."""

    reason: str
    message: str
    job: str | None = None


class ErrorBody(BaseModel):
    """Every answer that is not a success."""

    error: ErrorText


class ApiError(Exception):
    """Ends a request with this status and body."""

    def __init__(self, status: int, reason: str, message: str, *, job: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.text = ErrorText(reason=reason, message=message, job=job)


def failure_of(job: Job) -> ApiError:
    """Return how a request for the content of *job* fails, now that it has not succeeded."""
    if job.state == Outcome.TIMED_OUT:
        status = STATUS_OF_REASON[Reason.DEADLINE]
    else:
        known = Reason(job.reason) if job.reason else Reason.INTERNAL
        status = STATUS_OF_REASON.get(known, OTHER_FAILURE)
    message = job.message or f"the job ended: {job.state}"
    return ApiError(status, job.reason or job.state, message, job=job.id)


@web.middleware
async def answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give every refusal the one shape."""
    try:
        return await handler(request)
    except ApiError as error:
        return _response(error.status, error.text)
    except web.HTTPException as error:
        reason = (error.reason or "refused").lower().replace(" ", "_")
        return _response(error.status, ErrorText(reason=reason, message=error.reason or reason))


def _response(status: int, text: ErrorText) -> web.Response:
    body = ErrorBody(error=text).model_dump_json(exclude_none=True)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)
