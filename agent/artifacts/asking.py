"""One question to a store with a connector's credentials. What is asked is the store's part."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from agent.connectors.base import Connector
from agent.credentials import Credentials
from agent.errors import AccessDenied, StoreUnavailable
from agent.telemetry.logs import get_logger

TRIES = 3

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
        return await _patiently(request, used, tries)
    except AccessDenied as refusal:
        log.warning(
            "credential.refused", store=store, connector=connector.name, code=refusal.detail
        )
    connector.invalidate(used)
    used = await connector.credentials()
    try:
        return await _patiently(request, used, tries)
    except AccessDenied as refusal:
        detail = f"the store refuses connector {connector.name}: {refusal.detail}"
        raise AccessDenied(detail=detail) from None


async def _patiently(request: Callable[[C], Awaitable[T]], credentials: C, tries: int) -> T:
    # tenacity is asked about failures only: its loop costs a tenth of what a small object does.
    try:
        return await request(credentials)
    except StoreUnavailable as failure:
        failures = [failure]
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailable),
        stop=stop_after_attempt(tries),
        wait=wait_random_exponential(multiplier=0.2, max=2),
        reraise=True,
    ):
        with attempt:
            if failures:
                raise failures.pop()
            return await request(credentials)
    raise AssertionError("a retry ends with a value or an error")
