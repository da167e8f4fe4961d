"""`cloud-agent config` and `version`."""

import json

from agent.errors import Exit
from tests.cli.commands import cloud_agent


def test_flag_environment_and_file_meet(tmp_path):
    """Each value says which of them it came from."""
    config = tmp_path / "agent.yaml"
    config.write_text("agent: {name: prod-eu}\n")
    environ = {"CLOUD_AGENT__AGENT__MAX_CONCURRENT_JOBS": "3"}

    done = cloud_agent(
        "config", "show", "-c", config, "--log-level", "debug", "--json", environ=environ
    )

    assert {
        "agent": f"{config}:1",
        "agent.name": f"{config}:1",
        "agent.max_concurrent_jobs": "environment variable CLOUD_AGENT__AGENT__MAX_CONCURRENT_JOBS",
        "telemetry.log.level": "flag for telemetry.log.level",
    } == json.loads(done.stdout)["origins"]


def test_the_schema_is_printed():
    """As JSON that names its dialect."""
    schema = json.loads(cloud_agent("config", "schema").stdout)

    assert schema["$schema"].endswith("2020-12/schema")
    assert "control_plane" in schema["properties"]


def test_version_for_people_and_for_programs():
    """The same version."""
    text, as_json = cloud_agent("version"), cloud_agent("version", "--json")

    assert Exit.DONE == text.returncode
    assert f"cloud-agent {json.loads(as_json.stdout)['version']} " in text.stdout
