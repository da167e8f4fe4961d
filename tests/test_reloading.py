"""A changed configuration that nobody foresaw to be wrong in this way ends nothing."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.config.load import Loaded, load
from agent.config.settings import Settings
from agent.errors import UsageError
from agent.reloading import Reloading

ENVIRON = {
    "CLOUD_AGENT__CONTROL_PLANE__URL": "wss://cloud.example.com/agent/v1/connect",
    "CLOUD_AGENT__AGENT__NAME": "a",
}


def loaded(name: str) -> Loaded:
    return load(None, environ=ENVIRON | {"CLOUD_AGENT__AGENT__NAME": name})


@pytest.mark.parametrize("place", ["load", "apply"])
@pytest.mark.parametrize(
    ("error", "why", "traced"),
    [
        (UsageError("line 3 is wrong"), "line 3 is wrong", False),
        (LookupError("a value"), "unexpected LookupError", True),
    ],
)
async def test_a_change_that_fails_is_told_and_the_next_is_taken(
    place: str, error: Exception, why: str, traced: bool
) -> None:
    """An unexpected error with its traceback, the others by their text."""
    wrong = [error]
    applied: list[Settings] = []
    tidied: asyncio.Queue[None] = asyncio.Queue()

    def fail_once(where: str) -> None:
        if where == place and wrong:
            raise wrong.pop()

    def read() -> Loaded:
        fail_once("load")
        return loaded("b")

    def apply(settings: Settings) -> None:
        fail_once("apply")
        applied.append(settings)

    async def tidy() -> None:
        tidied.put_nowait(None)

    reloading = Reloading(Path("none.yaml"), read, apply=apply, tidy=tidy)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(reloading.run(loaded("a").settings))
            for _ in range(2):
                reloading.ask()
                await tidied.get()
            running.cancel()

    assert [loaded("b").settings] == applied
    rejected = [line for line in logs if line["event"] == "config.rejected"]
    assert [(why, traced)] == [(line["why"], "exc_info" in line) for line in rejected]
