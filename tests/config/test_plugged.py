"""What other packages offer: never in the place of ours, and a broken one is told as a mistake."""

from importlib.metadata import EntryPoint, EntryPoints
from typing import Literal

import pytest
from pydantic import TypeAdapter, model_validator

from agent.artifacts import open as opening
from agent.config import plugged
from agent.config.artifact_stores import ArtifactStore
from agent.config.connectors import AwsConnector, Connector
from agent.config.pipelines import Pipeline, ProcessPipeline
from agent.config.secret_stores import EnvSecretStore, SecretStore
from agent.errors import UsageError
from agent.plugins import Part, Plugin
from tests.config.files import complaints

CONNECTORS = "cloud_agent.connectors"
STORES = "cloud_agent.secret_stores"
RUNNERS = "cloud_agent.pipeline_runners"
CONFIGURATION = """\
control_plane: {url: "wss://cloud.example.com/agent/v1/connect"}
agent: {name: a}
"""


class Anything(Part):
    """Settings that take any type."""

    type: str
    cache: float = 1.0


class Brittle(Part):
    """Settings whose check has a mistake."""

    type: Literal["moon"]
    key: str = ""

    @model_validator(mode="before")
    @classmethod
    def _breaks(cls, value: dict[str, str]) -> None:
        raise LookupError(value["key"])


def _open(*_: object) -> None:
    raise NotImplementedError


GOOD = Plugin(Anything, _open)
BRITTLE = Plugin(Brittle, _open)
NO_PLUGIN = Anything
NO_SETTINGS = Plugin("Anything", _open)  # type: ignore[arg-type]
NO_FUNCTION = Plugin(Anything, None)  # type: ignore[arg-type]
NO_CACHE = Plugin(Brittle, _open)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """Have a package installed with this entry point."""

    def install(group: str, name: str, value: str) -> None:
        points = EntryPoints([EntryPoint(name, value, group)])
        monkeypatch.setattr(plugged, "entry_points", lambda group: points.select(group=group))

    return install


@pytest.mark.parametrize(
    ("union", "group", "value", "ours"),
    [
        (Connector, CONNECTORS, {"type": "aws", "method": "implicit"}, AwsConnector),
        (SecretStore, STORES, {"type": "env"}, EnvSecretStore),
        (Pipeline, RUNNERS, {"runner": "process", "name": "a", "command": ["x"]}, ProcessPipeline),
    ],
)
def test_our_types_are_never_those_of_a_package(install, union, group, value, ours):
    """Its entry point is not even loaded."""
    install(group, value.get("type") or value["runner"], "no.such.module:X")

    assert ours is type(TypeAdapter(union).validate_python(value))


def test_our_schemes_are_never_those_of_a_package(install):
    install(opening.PLUGINS, "file", "no.such.module:X")
    store = ArtifactStore(name="a", uri="file:///srv")

    (opened,) = opening.open_artifact_stores([store], {}, block_bytes=lambda: 1024)

    assert "file" == opened.type


def test_another_type_is_that_of_the_package(install):
    install(CONNECTORS, "moon", f"{__name__}:GOOD")

    assert Anything is type(TypeAdapter(Connector).validate_python({"type": "moon"}))


@pytest.mark.parametrize(
    ("group", "section", "value", "says"),
    [
        (CONNECTORS, "connectors", "no.such.module:X", "can't be loaded: ModuleNotFoundError: No"),
        (CONNECTORS, "connectors", f"{__name__}:NOTHING", "can't be loaded: AttributeError: "),
        (CONNECTORS, "connectors", f"{__name__}:NO_PLUGIN", "its settings are no Part"),
        (CONNECTORS, "connectors", f"{__name__}:NO_SETTINGS", "its settings are no Part"),
        (CONNECTORS, "connectors", f"{__name__}:NO_FUNCTION", "it has no function open"),
        (STORES, "secret_stores", f"{__name__}:NO_CACHE", "its settings have no cache"),
        (CONNECTORS, "connectors", f"{__name__}:BRITTLE", "fails with LookupError"),
    ],
)
def test_a_broken_plug_in_is_a_mistake_with_a_place(install, tmp_path, group, section, value, says):
    """It names group and entry point, and repeats no value."""
    install(group, "moon", value)
    text = CONFIGURATION + f"{section}:\n  c: {{type: moon, key: hunter2}}\n"

    (line,) = complaints(tmp_path, text)

    place = f"agent.yaml:4: {section}.c.type: the entry point moon of {group} "
    assert (place, True) == (line[: len(place)], says in line)
    assert "hunter2" not in line


def test_a_store_that_is_no_factory_is_a_mistake(install):
    install(opening.PLUGINS, "moon", f"{__name__}:CONNECTORS")
    store = ArtifactStore(name="a", uri="moon://x/y")

    with pytest.raises(UsageError, match=r"entry point moon of .* it can't be called"):
        opening.open_artifact_stores([store], {}, block_bytes=lambda: 1024)
