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


def test_a_wrong_pattern_is_named_with_all_other_mistakes(tmp_path):
    """Though patterns are the guard's affair, and keys the configuration's."""
    config = tmp_path / "agent.yaml"
    config.write_text(
        "agnt: {}\npolicy:\n  rules:\n    - allow: '*'\n      artifacts: ['s3://b/**x', 's3://b/**']\n"
        "    - {allow: '*', pipelines: [a/b], connectors: 7}\n"
    )

    done = cloud_agent("config", "show", "-c", config)

    assert [
        f"{config}:1: agnt",
        f"{config}:5: policy.rules.0.artifacts.0",
        f"{config}:6: policy.rules.1.connectors",
        f"{config}:6: policy.rules.1.pipelines.0",
    ] == sorted(": ".join(line.strip().split(": ")[:2]) for line in done.stderr.splitlines()[1:])


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
