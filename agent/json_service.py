"""One question to a service that answers in JSON, with bounds on size and shape. Blocks a thread.

What is asked, and what the answer means, is not known here.
"""

import json
from typing import Any

from agent.errors import AccessDenied, NotFound, StoreUnavailable
from agent.http_session import HttpSession, RequestException, Response, TransferError

LONGEST_ANSWER = 4 * 1024 * 1024


def ask_json(session: HttpSession, method: str, url: str, **options: Any) -> dict[str, Any]:
    """Return the JSON object that the service answers with; *options* are those of ``requests``.

    Safe for concurrent threads; one try. `detail` of an error holds the status and no text of the
    answer.

    Raises:
        AccessDenied: It answered 401 or 403.
        NotFound: It answered 404.
        StoreUnavailable: It answered otherwise, not at all, too much, or no JSON object.
    """
    try:
        with session.request(method, url, stream=True, **options) as answer:
            _require_success(answer)
            return _object(answer.raw.read(LONGEST_ANSWER + 1, decode_content=True))
    except (RequestException, TransferError, OSError) as error:
        raise StoreUnavailable(detail=f"no answer: {type(error).__name__}") from None


def _require_success(answer: Response) -> None:
    status = answer.status_code
    detail = f"the service answered {status}"
    if status in (401, 403):
        raise AccessDenied(detail=detail)
    if status == 404:
        raise NotFound(detail=detail)
    if not 200 <= status < 300:
        raise StoreUnavailable(detail=detail)


def _object(content: bytes) -> dict[str, Any]:
    if len(content) > LONGEST_ANSWER:
        raise StoreUnavailable(detail=f"the service answered more than {LONGEST_ANSWER} bytes")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StoreUnavailable(detail="the service did not answer with a JSON object")
    return found
