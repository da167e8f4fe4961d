"""What `config show` and `config schema` print."""

import json

from jsonschema import Draft202012Validator

from agent.config.load import load
from agent.config.show import as_json, as_yaml, schema_as_json, without_userinfo
from tests.config.files import loaded, written

FULL = """\
control_plane: {url: "wss://cloud.example.com/agent/v1/connect"}
agent: {name: prod-eu, labels: {"1": "yes", "a b": "x: y"}, drain_deadline: 5m}
secret_stores:
  vault: {type: vault, address: "https://vault:8200", auth: {method: token}}
connectors:
  ml: {type: aws, method: secret-key, access_key_id: "secret://vault/ml#id",
       secret_access_key: "secret://vault/ml#key"}
artifact_stores: [{name: training, uri: "s3://ml/prod", connector: ml}]
pipelines:
  - name: train
    runner: process
    command: [train, "{epochs}"]
    parameters: {epochs: {type: integer, default: 3}}
    environment: {MODE: fast, KEY: "secret://vault/ml#token"}
policy: {rules: [{deny: "*", artifacts: ["**/pii/**"]}]}
"""


def test_what_is_shown_is_a_configuration_with_the_same_meaning(tmp_path):
    """So that it can be kept as a file."""
    first = loaded(tmp_path, FULL)

    assert first.settings == loaded(tmp_path, as_yaml(first)).settings


def test_each_value_is_followed_by_its_origin(tmp_path):
    """File and line, variable, or default."""
    environ = {"CLOUD_AGENT__AGENT__MAX_CONCURRENT_JOBS": "3"}

    shown = as_yaml(loaded(tmp_path, FULL, environ=environ)).splitlines()

    assert f'  name: "prod-eu"  # {tmp_path}/agent.yaml:2' in shown
    assert '  state_dir: "/var/lib/cloud-agent"  # default' in shown
    assert (
        "  max_concurrent_jobs: 3"
        "  # environment variable CLOUD_AGENT__AGENT__MAX_CONCURRENT_JOBS" in shown
    )


def test_secrets_are_hidden_in_both_forms(tmp_path):
    """The proxy's password, and plain text that a pipeline's environment calls a secret."""
    environ = {
        "CLOUD_AGENT__CONTROL_PLANE__PROXY": "http://walter:hunter2@proxy:3128",
        "CLOUD_AGENT__PIPELINES__0__ENVIRONMENT": "{API_TOKEN: hunter2, MODE: fast}",
    }
    configured = loaded(tmp_path, FULL, environ=environ)

    shown = as_yaml(configured) + as_json(configured)

    assert "hunter2" not in shown
    assert "http://***@proxy:3128" in shown
    assert '"MODE": "fast"' in shown


def test_json_holds_values_and_origins(tmp_path):
    """For programs."""
    path = written(tmp_path, FULL)

    shown = json.loads(as_json(load(path, environ={})))

    assert "secret://vault/ml#id" == shown["settings"]["connectors"]["ml"]["access_key_id"]
    assert f"{path}:9" != shown["origins"]["artifact_stores.0.uri"] == f"{path}:8"


def test_the_schema_accepts_what_the_agent_accepts(tmp_path):
    """An editor must not underline a duration or a reference."""
    import yaml

    validator = Draft202012Validator(json.loads(schema_as_json()))

    assert [] == list(validator.iter_errors(yaml.safe_load(FULL)))
    assert list(validator.iter_errors({"agent": {"drain_deadline": "5 parsecs"}}))
    assert list(validator.iter_errors({"agnt": {}}))


def test_userinfo_goes_from_every_url_in_a_text():
    """However odd the password."""
    assert "via http://***@p:1/ and x" == without_userinfo("via http://u:p@ss@p:1/ and x")
