"""Why a connection ended, or never was, in words that the back-off and a person can act on."""

from dataclasses import dataclass

from agent.errors import LinkRefused
from agent.link.connection import LinkConnection
from agent.protocol.close_reasons import understand

ADVICE = {
    "identity_rejected": "the control plane does not know this key; enroll with a new join token",
    "revoked": "an administrator of the control plane has revoked this instance",
    "version_unsupported": "the control plane wants another protocol version; update the agent",
    "superseded": "another process uses this key; give each replica its own state directory",
    "clock_skew": "this host's clock is off by more than the control plane tolerates",
    "bad_request": "the address in control_plane.url is no agent end point",
}

NOT_A_CONTROL_PLANE = (
    "what answered at control_plane.url is no control plane; "
    "is the path right, and what stands in front of it?"
)


@dataclass(frozen=True, slots=True)
class End:
    """How one attempt ended; *outcome* is a label of the metric, *retry_after* is in seconds.

    *local*: a person has to mend something on this host, and then the next attempt can help.
    """

    reason: str
    outcome: str = "connected"
    message: str = ""
    final: bool = False
    retry_after: float | None = None
    local: bool = False


def refused(refusal: LinkRefused) -> End:
    """Say what a refusal before the upgrade means to a person."""
    unexplained = NOT_A_CONTROL_PLANE if refusal.reason.startswith("http_") else ""
    return End(
        refusal.reason,
        "refused",
        ADVICE.get(refusal.reason, unexplained),
        refusal.final,
        refusal.retry_after,
    )


def closed(connection: LinkConnection) -> End:
    """Read off a closed connection why it was closed."""
    if connection.flooded:
        return End("rate_limited", message="the control plane sent too many control frames")
    received = connection.protocol.close_rcvd
    if received is None:
        return _closed_by_us(connection)
    refusal = understand(received.reason, code=received.code)
    reason = refusal.reason if refusal.reason != "unexplained" else f"closed_{received.code}"
    return End(
        reason,
        message=ADVICE.get(reason, ""),
        final=refusal.final,
        retry_after=refusal.retry_after,
    )


def _closed_by_us(connection: LinkConnection) -> End:
    sent = connection.protocol.close_sent
    if sent is not None and sent.code == 1009:
        return End("frame_too_large", message="the control plane sent too large a frame")
    if sent is not None and sent.code in (1002, 1007):
        return End("protocol_error", message="the control plane broke the WebSocket protocol")
    return End("connection_lost")
