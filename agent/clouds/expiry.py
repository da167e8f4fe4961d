"""Shows as a metric until when credentials are good. What becomes of them is not decided here."""

from collections.abc import Callable
from typing import ClassVar

from agent.telemetry import metrics


class ExpiryMetric:
    """The seconds that the credentials of *name* have left, until `hide`.

    Of several with one name, as there are while jobs still hold what a reload has replaced, the one
    that was shown last speaks; where it is hidden, the one before.
    """

    _shown: ClassVar[dict[str, dict["ExpiryMetric", Callable[[], float]]]] = {}

    def __init__(self, name: str) -> None:
        self._name = name

    def show(self, seconds_left: Callable[[], float]) -> None:
        """Let the metric say what *seconds_left* returns."""
        self.hide()
        self._shown.setdefault(self._name, {})[self] = seconds_left
        metrics.credential_expiry.labels(self._name).set_function(seconds_left)

    def hide(self) -> None:
        """Say nothing more; idempotent."""
        others = self._shown.get(self._name, {})
        if others.pop(self, None) is None:
            return
        if others:
            metrics.credential_expiry.labels(self._name).set_function([*others.values()][-1])
        else:
            metrics.credential_expiry.remove(self._name)
