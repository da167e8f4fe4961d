"""Parts of the configuration that installed packages bring, chosen by their tag.

How such a package is written stands in `agent.plugins`.
"""

from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidatorFunctionWrapHandler, WrapValidator


def plugged(group: str, name: object) -> Any | None:
    """Return what an installed package offers as *name* in *group*, None when none does."""
    for point in entry_points(group=group):
        if point.name == name:
            return point.load()
    return None


def plugged_names(group: str) -> Iterable[str]:
    """Return the names that installed packages offer in *group*; loads none of them."""
    return entry_points(group=group).names


def or_plugged(group: str, tag: str) -> WrapValidator:
    """Have a union take what a package of *group* offers, where its *tag* is none of ours."""

    def validate(value: Any, ours: ValidatorFunctionWrapHandler) -> Any:
        chosen = value.get(tag) if isinstance(value, dict) else None
        if isinstance(chosen, str) and chosen in plugged_names(group):
            return plugged(group, chosen).settings.model_validate(value)  # type: ignore[union-attr]
        return ours(value)

    return WrapValidator(validate)
