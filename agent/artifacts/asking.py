"""One question to a store with a connector's credentials. What is asked is the store's part."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from agent.connectors.base import Connector
from agent.credentials import Credentials
from agent.errors import AccessDenied
from agent.retrying import TRIES, patiently
from agent.telemetry.logs import get_logger

C = TypeVar("C", bound=Credentials)
T = TypeVar("T")

log = get_logger()


async def ask(
    connector: Connector[C],
    request: Callable[[C], Awaitable[T]],
    *,
    store: str,
    tries: int = TRIES,
) -> T:
    """Return what *request* returns; *store* is the name of the store, for logs.

    Credentials that are refused are dropped, and the request is made once more with others; a store
    that does not answer is asked *tries* times.

    Raises:
        AccessDenied: The newer credentials were refused, too.
        StoreUnavailable: The store never answered. Besides, whatever *request* and the connector
            raise.
    """
    used = await connector.credentials()
    try:
        return await patiently(partial(request, used), tries=tries)
    except AccessDenied as refusal:
        log.warning(
            "credential.refused", store=store, connector=connector.name, code=refusal.detail
        )
    connector.invalidate(used)
    used = await connector.credentials()
    try:
        return await patiently(partial(request, used), tries=tries)
    except AccessDenied as refusal:
        detail = f"the store refuses connector {connector.name}: {refusal.detail}"
        raise AccessDenied(detail=detail) from None
