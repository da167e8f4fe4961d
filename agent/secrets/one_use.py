"""What is good for one use, such as a wrapping token, and who may not use it up.

What it is used for is not known here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from agent.errors import CredentialUnavailable

_kept: ContextVar[bool] = ContextVar("kept", default=False)


class KeptForLater(CredentialUnavailable):
    """It seems good, and was not used."""


@contextmanager
def nothing_used_up() -> Iterator[None]:
    """Keep everything of one use for the daemon, in this context and the tasks started in it."""
    token = _kept.set(True)
    try:
        yield
    finally:
        _kept.reset(token)


def before_use(what: str) -> None:
    """Say that *what*, which seems good, is used up next.

    Raises:
        KeptForLater: That is not for us to do.
    """
    if _kept.get():
        raise KeptForLater(detail=f"{what} is good, and kept for the daemon")
