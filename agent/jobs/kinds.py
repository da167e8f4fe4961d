"""The closed set of kinds, and those that installed packages add under ``cloud_agent.jobs``."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from agent.errors import UsageError
from agent.jobs.check_connector import CHECK_CONNECTOR
from agent.jobs.fetch_artifact import FETCH_ARTIFACT
from agent.jobs.kind import Kind
from agent.jobs.list_artifacts import LIST_ARTIFACTS
from agent.jobs.pipelines import PIPELINE_LOGS, PIPELINE_STATUS, STOP_PIPELINE, TRIGGER_PIPELINE

GROUP = "cloud_agent.jobs"

KINDS: dict[str, Kind[Any]] = {
    kind.name: kind
    for kind in (
        FETCH_ARTIFACT,
        LIST_ARTIFACTS,
        TRIGGER_PIPELINE,
        PIPELINE_STATUS,
        PIPELINE_LOGS,
        STOP_PIPELINE,
        CHECK_CONNECTOR,
    )
}


def installed_kinds() -> dict[str, Kind[Any]]:
    """Return our kinds and those of installed packages; what runs is the customer's choice at
    install.

    Raises:
        UsageError: A package offers something that is no kind, or one of our names.
    """
    kinds = dict(KINDS)
    for entry in entry_points(group=GROUP):
        kind = _loaded(entry)
        if not isinstance(kind, Kind) or kind.name in kinds:
            raise UsageError(f"entry point {entry.name} of {GROUP} is no new kind of job")
        kinds[kind.name] = kind
    return kinds


def _loaded(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as exc:  # noqa: BLE001 - somebody else's code
        why = f"{type(exc).__name__}: {exc}"
        raise UsageError(f"entry point {entry.name} of {GROUP} can't be loaded: {why}") from None
