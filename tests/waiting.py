"""Wait for a condition with a deadline; the only place of the tests that sleeps."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

Condition = Callable[[], object]

FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.05


async def until(
    condition: Callable[[], object | Awaitable[object]],
    *,
    timeout: float = 10.0,
    message: str = "the condition",
) -> None:
    """Return once *condition* holds; a coroutine function is awaited each time.

    Raises:
        AssertionError: It did not hold within *timeout* seconds; the text names *message*.
    """
    for pause in _pauses(timeout, message):
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        await asyncio.sleep(pause)


def wait_until(
    condition: Condition, *, timeout: float = 10.0, message: str = "the condition"
) -> None:
    """Block until *condition* holds: `until` for fixtures and threads without a loop.

    Raises:
        AssertionError: It did not hold within *timeout* seconds; the text names *message*.
    """
    for pause in _pauses(timeout, message):
        if condition():
            return
        time.sleep(pause)


def _pauses(timeout: float, message: str) -> Iterator[float]:
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while time.monotonic() < deadline:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)
    raise AssertionError(f"{message} did not come true within {timeout} s")
