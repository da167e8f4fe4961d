"""Where values come from, and which source wins."""

from pathlib import Path

import pytest

from agent.config.load import load
from agent.protocol.messages import CONNECT_PATH
from tests.config.files import complaints, loaded, written

STORES = """\
artifact_stores:
  - {name: first, uri: "file:///srv/first"}
  - {name: second, uri: "file:///srv/second"}
connectors:
  ml-s3: {type: aws, region: eu-west-1}
"""


def test_without_anything_the_defaults_hold():
    """No file and no variable is a valid configuration."""
    assert load(None, environ={}).settings.agent.max_concurrent_jobs == 16


@pytest.mark.parametrize(
    ("environ", "flags", "winner"),
    [
        ({}, {}, "from-file"),
        ({"CLOUD_AGENT__AGENT__NAME": "from-env"}, {}, "from-env"),
        ({"CLOUD_AGENT__AGENT__NAME": "from-env"}, {"agent.name": "from-flag"}, "from-flag"),
        ({}, {"agent.name": None}, "from-file"),
    ],
)
def test_flag_beats_environment_beats_file(tmp_path, environ, flags, winner):
    """The nearer to the call, the stronger; a flag that was not given is none."""
    path = written(tmp_path, "agent: {name: from-file}\n")

    assert winner == load(path, environ=environ, flags=flags).settings.agent.name


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("5m", 300.0), ("2h", 7200.0), ("1.5", 1.5)]
)
def test_a_duration_is_read_as_people_write_it(tmp_path, text, seconds):
    """All durations end as seconds."""
    assert (
        seconds
        == loaded(tmp_path, f"agent: {{drain_deadline: {text}}}").settings.agent.drain_deadline
    )


def test_a_variable_may_hold_a_list_or_a_mapping():
    """A whole value is given as YAML."""
    rules = "[{allow: [list-artifacts], max_bytes: 5GiB}]"

    settings = load(None, environ={"CLOUD_AGENT__POLICY__RULES": rules}).settings

    assert settings.policy.rules[0].max_bytes == 5 * 2**30


def test_a_variable_reaches_into_a_list(tmp_path):
    """Positions count from 0, and one behind the last appends."""
    environ = {
        "CLOUD_AGENT__ARTIFACT_STORES__1__NAME": "renamed",
        "CLOUD_AGENT__ARTIFACT_STORES__2": '{name: third, uri: "file:///srv/third"}',
    }

    stores = loaded(tmp_path, STORES, environ=environ).settings.artifact_stores

    assert ["first", "renamed", "third"] == [store.name for store in stores]


@pytest.mark.parametrize(
    "name", ["CLOUD_AGENT__CONNECTORS__ML_S3__REGION", "cloud_agent__connectors__ml-s3__region"]
)
def test_a_variable_finds_a_key_with_a_dash(tmp_path, name):
    """Case does not count, and an underscore stands for what a variable's name can't hold."""
    connectors = loaded(tmp_path, STORES, environ={name: "us-east-1"}).settings.connectors

    assert {"ml-s3": "us-east-1"} == {key: value.region for key, value in connectors.items()}


def test_variables_alone_can_make_a_list():
    """An image without a configuration file must be able to set everything."""
    environ = {
        "CLOUD_AGENT__ARTIFACT_STORES__0__NAME": "local",
        "CLOUD_AGENT__ARTIFACT_STORES__0__URI": "file:///srv/artifacts",
    }

    (store,) = load(None, environ=environ).settings.artifact_stores

    assert ("local", "file:///srv/artifacts") == (store.name, store.uri)


def test_a_single_key_beats_the_whole_value_around_it():
    """However the environment happens to be ordered."""
    environ = {
        "CLOUD_AGENT__AGENT__NAME": "precise",
        "CLOUD_AGENT__AGENT": "{name: coarse, max_concurrent_jobs: 3}",
    }

    agent = load(None, environ=environ).settings.agent

    assert ("precise", 3) == (agent.name, agent.max_concurrent_jobs)


@pytest.mark.parametrize("password", ["a #b", "a: b", "*b", "1e3", "null and void", "a\nagent: {}"])
def test_text_in_a_variable_is_taken_as_it_stands(password):
    """What would mean something in a file, such as a comment, is only text in a variable."""
    environ = {"CLOUD_AGENT__AGENT__LABELS__NOTE": f"x{password}"}

    assert {"note": f"x{password}"} == load(None, environ=environ).settings.agent.labels


def test_an_empty_variable_means_null(tmp_path):
    """So that a variable can take away what the file sets."""
    environ = {"CLOUD_AGENT__CONTROL_PLANE__PROXY": ""}

    text = "control_plane: {proxy: 'http://proxy:3128'}"

    assert loaded(tmp_path, text, environ=environ).settings.control_plane.proxy is None


def test_the_variables_of_a_kubernetes_service_are_left_alone():
    """A Service named cloud-agent puts these into every pod of its namespace."""
    environ = {"CLOUD_AGENT_SERVICE_HOST": "10.0.0.1", "CLOUD_AGENT_PORT_9464_TCP": "tcp://x"}

    assert load(None, environ=environ).settings == load(None, environ={}).settings


def test_every_value_knows_where_it_came_from(tmp_path: Path):
    """File and line, variable, flag, or default."""
    path = written(tmp_path, "agent:\n  name: a\n  labels: {x: y}\n")
    environ = {"CLOUD_AGENT__AGENT__LABELS__X": "z"}

    origins = load(path, environ=environ, flags={"agent.state_dir": "/x"}).origins

    assert f"{path}:2" == str(origins.of(("agent", "name")))
    assert "environment variable CLOUD_AGENT__AGENT__LABELS__X" == str(
        origins.of(("agent", "labels", "x"))
    )
    assert "flag" == origins.of(("agent", "state_dir")).source
    assert "default" == str(origins.of(("agent", "drain_deadline")))


def test_the_url_ends_as_the_protocol_says():
    """The settings write the path out; here both are compared."""
    settings = load(None, environ={}).settings

    assert settings.control_plane.url.endswith(CONNECT_PATH)


def test_a_mistake_in_a_variable_names_the_variable(tmp_path):
    """Since there is no line to look at."""
    environ = {
        "CLOUD_AGENT__AGENT__NAM": "x",
        "CLOUD_AGENT__AGENT__LABELS": "[a",
        "CLOUD_AGENT__ARTIFACT_STORES__9__NAME": "x",
        "CLOUD_AGENT_AGENT__NAME": "x",
        "CLOUD_AGENT__AGENT____NAME": "x",
        "CLOUD_AGENT__AUDIT__FILE__X": "y",
    }

    found = complaints(tmp_path, "audit: {file: a}", environ=environ)

    assert sorted(environ) == sorted(line.split(":")[0].split()[-1] for line in found)
    assert any("did you mean name?" in line for line in found)
    assert any("did you mean CLOUD_AGENT__AGENT__NAME?" in line for line in found)
