"""Asking a service again that did not answer. Whom is asked what is not known here."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from agent.errors import StoreUnavailable

TRIES = 3

T = TypeVar("T")


async def patiently(ask: Callable[[], Awaitable[T]], *, tries: int = TRIES) -> T:
    """Return what *ask* returns; it is called up to *tries* times, with growing random waits.

    Raises:
        StoreUnavailable: It was raised each time. Besides, at once whatever else *ask* raises.
    """
    # tenacity is asked about failures only: its loop costs a tenth of what a small object does.
    try:
        return await ask()
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
            return await ask()
    raise AssertionError("a retry ends with a value or an error")
