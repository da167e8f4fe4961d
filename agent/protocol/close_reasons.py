"""Why a link is refused or closed, and what the agent does next. One table for both ends.

A close frame carries the code of this table and, as its reason, a JSON object such as
``{"reason":"overloaded","retry_after":5}`` of at most 123 bytes. A refusal before the upgrade
carries the same object as the body of an HTTP response with the status of this table.
"""

import json
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class ClosePolicy:
    """*final*: trying soon cannot help. *retry_after*: seconds, when the peer names no time."""

    code: int
    status: int
    final: bool
    retry_after: float | None = None


CLOSE_POLICIES: dict[str, ClosePolicy] = {
    "bad_request": ClosePolicy(4400, 400, final=True),
    "identity_rejected": ClosePolicy(4401, 401, final=True),
    "join_token_rejected": ClosePolicy(4402, 403, final=True),
    "revoked": ClosePolicy(4403, 403, final=True),
    "version_unsupported": ClosePolicy(4426, 426, final=True),
    "protocol_error": ClosePolicy(4000, 400, final=False),
    "heartbeat_lost": ClosePolicy(4008, 408, final=False),
    "frame_too_large": ClosePolicy(4009, 413, final=False),
    "superseded": ClosePolicy(4010, 409, final=False, retry_after=30),
    "clock_skew": ClosePolicy(4011, 401, final=False, retry_after=60),
    "rate_limited": ClosePolicy(4029, 429, final=False, retry_after=10),
    "overloaded": ClosePolicy(4503, 503, final=False, retry_after=5),
    "restarting": ClosePolicy(4504, 503, final=False, retry_after=1),
}
BY_CODE = {policy.code: reason for reason, policy in CLOSE_POLICIES.items()}
LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A close or refusal as the agent understood it."""

    reason: str
    final: bool
    retry_after: float | None


def describe(reason: str, *, retry_after: float | None = None) -> str:
    """Return the JSON text that goes into the close frame or the response body."""
    body: dict[str, str | float] = {"reason": reason}
    if retry_after is not None:
        body["retry_after"] = retry_after
    return json.dumps(body, separators=(",", ":"))


def understand(text: str, *, code: int | None = None, status: int | None = None) -> Refusal:
    """Return what a close frame or a refused upgrade means; anything unknown is worth trying again.

    *text* comes from the network and may be anything. 401 and 403 without a reason of ours are
    final: a gateway in front of the control plane answers so to a rejected identity.
    """
    reason, retry_after = _parsed(text)
    if reason is None and code is not None:
        reason = BY_CODE.get(code)
    if reason is not None and (policy := CLOSE_POLICIES.get(reason)):
        return Refusal(
            reason, policy.final, policy.retry_after if retry_after is None else retry_after
        )
    if status in (401, 403):
        return Refusal("identity_rejected", final=True, retry_after=retry_after)
    return Refusal("unexplained", final=False, retry_after=retry_after)


def _parsed(text: str) -> tuple[str | None, float | None]:
    try:
        body = json.loads(text, parse_constant=_no_constant) if len(text) <= 4096 else None
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(body, dict):
        return None, None
    reason, retry_after = body.get("reason"), body.get("retry_after")
    named = reason if isinstance(reason, str) and reason in CLOSE_POLICIES else None
    if isinstance(retry_after, bool) or not isinstance(retry_after, int | float):
        return named, None
    # Bounded before it becomes a float: an integer may be too large for one.
    return named, float(min(max(retry_after, 0), LONGEST_RETRY_AFTER))


def _no_constant(name: str) -> NoReturn:
    """NaN would pass every comparison of the back-off, and make it spin."""
    raise ValueError(name)
