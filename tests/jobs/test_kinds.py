"""Kinds of jobs that installed packages add."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from agent.errors import UsageError
from agent.jobs import kinds
from agent.jobs.kinds import GROUP, installed_kinds


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("nosuchmodule:KIND", "can't be loaded: ModuleNotFoundError"),
        ("agent.errors:UsageError", "is no new kind of job"),
        ("agent.jobs.fetch_artifact:FETCH_ARTIFACT", "is no new kind of job"),
    ],
)
def test_one_that_is_none_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, value: str, says: str
) -> None:
    entry = EntryPoint("moon", value, GROUP)
    monkeypatch.setattr(kinds, "entry_points", lambda group: EntryPoints([entry]))

    with pytest.raises(UsageError, match=f"entry point moon of {GROUP} {says}"):
        installed_kinds()
