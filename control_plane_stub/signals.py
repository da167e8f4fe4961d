"""Tells any number of waiters that something changed; what changed is looked up by them."""

import asyncio


class Signal:
    """Wakes everybody who waits for a version newer than the one they saw; no change is missed.

    Read `version` before you look at the state, look, and wait for `newer_than` that version.
    """

    __slots__ = ("_waiters", "version")

    def __init__(self) -> None:
        self.version = 0
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Wake all waiters; does not wait."""
        self.version += 1
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def newer_than(self, version: int) -> None:
        """Wait until the version is not *version* any more."""
        while self.version == version:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
