"""How long to wait before the next connect: full jitter, and no reset before a connection has
lasted."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

FINAL_WAIT = 300.0
"""After a final refusal: a person has to act, and may act at the far end, so we ask again, but
rarely."""


@dataclass
class Backoff:
    """Delays in seconds that double from *first* to *longest*, each drawn between 0 and that (full
    jitter).

    A connection that ended before *stable_after* seconds counts as one more failure, so that a
    control plane which accepts and drops at once is not asked more and more often.
    """

    first: float = 0.5
    longest: float = 30.0
    stable_after: float = 10.0
    draw: Callable[[float, float], float] = field(default=random.uniform)
    _failures: int = 0

    def delay(
        self, *, lasted: float, retry_after: float | None = None, final: bool = False
    ) -> float:
        """Return how long to wait after a connection that *lasted* so many seconds.

        Never less than *retry_after*, with jitter behind it, so that all agents told the same time
        don't come back at once.
        """
        if lasted >= self.stable_after:
            self._failures = 0
        ceiling = min(self.longest, self.first * 2 ** min(self._failures, 32))
        self._failures += 1
        if final:
            retry_after = max(retry_after or 0.0, FINAL_WAIT)
        if retry_after:
            return retry_after + self.draw(0.0, max(ceiling, retry_after / 4))
        return self.draw(0.0, ceiling)
