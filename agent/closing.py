"""Closing many things of others, of which one may fail."""

from collections.abc import Awaitable, Callable

from agent.telemetry.logs import get_logger

log = get_logger()


async def close_guarded(kind: str, name: str, close: Callable[[], Awaitable[None]]) -> None:
    """Await *close*; what it fails with is logged, so that the caller goes on with the next."""
    try:
        await close()
    except Exception as exc:  # noqa: BLE001 - may be somebody else's code
        log.warning("part.not_closed", kind=kind, name=name, error=type(exc).__name__)
