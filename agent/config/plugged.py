"""Parts of the configuration that installed packages bring, chosen by their tag.

How such a package is written stands in `agent.plugins`. It is somebody else's code: whatever it
does wrong is told as a mistake, by the names of its group and entry point.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

from agent.errors import UsageError

FIELDS = {
    "cloud_agent.connectors": ("type",),
    "cloud_agent.secret_stores": ("type", "cache"),
    "cloud_agent.pipeline_runners": ("name", "runner"),
}
"""What the settings of a plug-in of each group need; other groups have plain factories."""


def plugged(group: str, name: object) -> Any | None:
    """Return what an installed package offers as *name* in *group*, None when none does.

    Raises:
        UsageError: It can't be loaded, or lacks what is needed.
    """
    for point in entry_points(group=group):
        if point.name == name:
            return _loaded(point)
    return None


def plugged_names(group: str) -> Iterable[str]:
    """Return the names that installed packages offer in *group*; loads none of them."""
    return entry_points(group=group).names


@dataclass(frozen=True, slots=True)
class _OrPlugged:
    """What pydantic asks for the schema of an annotated union, whose members have our tags."""

    group: str
    tag: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        ours = {
            word
            for member in get_args(source)
            for word in get_args(member.model_fields[self.tag].annotation)
        }

        def validate(value: Any, as_ours: ValidatorFunctionWrapHandler) -> Any:
            chosen = value.get(self.tag) if isinstance(value, dict) else None
            if not isinstance(chosen, str) or chosen in ours:
                return as_ours(value)
            if chosen not in plugged_names(self.group):
                return as_ours(value)
            return self._read(chosen, value)

        return core_schema.no_info_wrap_validator_function(validate, handler(source))

    def _read(self, chosen: str, value: Any) -> Any:
        try:
            return plugged(self.group, chosen).settings.model_validate(value)  # type: ignore[union-attr]
        except ValueError:
            raise
        except UsageError as wrong:
            raise ValueError(f"{self.tag}: {wrong}") from None
        except Exception as exc:  # noqa: BLE001 - somebody else's code
            # Of what a validator says, nothing is repeated: it may be a value.
            what = _named(self.group, chosen)
            raise ValueError(f"{self.tag}: {what} fails with {type(exc).__name__}") from None


def or_plugged(group: str, tag: str) -> _OrPlugged:
    """Have a union take what a package of *group* offers, where its *tag* is none of ours."""
    return _OrPlugged(group, tag)


def _loaded(point: EntryPoint) -> Any:
    try:
        offered = point.load()
    except Exception as exc:  # noqa: BLE001 - somebody else's code
        why = f"{type(exc).__name__}: {exc}".partition("\n")[0]
        raise UsageError(f"{_named(point.group, point.name)} can't be loaded: {why}") from None
    if missing := _lacking(offered, point.group):
        raise UsageError(f"{_named(point.group, point.name)} is no plug-in: {missing}")
    return offered


def _lacking(offered: Any, group: str) -> str | None:
    if group not in FIELDS:
        return None if callable(offered) else "it can't be called"
    settings = getattr(offered, "settings", None)
    if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
        return "its settings are no Part"
    if not callable(getattr(offered, "open", None)):
        return "it has no function open"
    for name in FIELDS[group]:
        if name not in settings.model_fields and not hasattr(settings, name):
            return f"its settings have no {name}"
    return None


def _named(group: str, name: str) -> str:
    return f"the entry point {name} of {group}"
