"""How this control plane turns an agent away, before and after the upgrade."""

from contextlib import suppress

from aiohttp import web

from agent.protocol.close_reasons import CLOSE_POLICIES, describe


class Refused(Exception):
    """The link or enrolment is refused; *reason* is a key of `CLOSE_POLICIES`."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


def refusal_response(refused: Refused) -> web.Response:
    """Return the answer instead of an upgrade; its Date header shows our clock."""
    status = CLOSE_POLICIES[refused.reason].status
    headers = {}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(refused.retry_after)))
    text = describe(refused.reason, retry_after=refused.retry_after)
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)


async def close_with(
    ws: web.WebSocketResponse, reason: str, *, retry_after: float | None = None
) -> None:
    """Close *ws* with our code and reason; waits for the peer's close frame, but not for long."""
    text = describe(reason, retry_after=retry_after)
    with suppress(ConnectionError):
        await ws.close(code=CLOSE_POLICIES[reason].code, message=text.encode())
