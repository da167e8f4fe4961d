"""What a wrong configuration gets: every error at once, with key, line and what would be right."""

import json

import pytest

from tests.config.files import complaints

SECRET = "hunter2-not-to-be-repeated"

MANY_MISTAKES = """\
control_plane:
  ur: wss://cloud.example.com/connect
  url: ws://cloud.example.com/agent/v1/connect
agent: {name: a, name: b}
secret_stores:
  vault: {type: vault, adress: x, address: "https://vault:8200", auth: {method: tokn}}
connectors:
  ml: {type: aws, method: secret-key, access_key_id: AKIA, secret_access_key: secret://valt/x}
artifact_stores:
  - {name: a, uri: "s3://b/c", connector: mll}
  - {name: a, uri: "s3://b/c/", connector: ml}
pipelines:
  - name: p
    runner: process
    command: [python, "{epoch}"]
    parameters: {epochs: {type: integr}}
    environment: {TOKEN: "secret://vault"}
    timeout: 5 parsecs
"""


def test_every_mistake_is_named_at_once_in_the_order_of_the_file(tmp_path):
    """Of structure, of keys, of values, and between the parts."""
    found = complaints(tmp_path, MANY_MISTAKES)

    assert [
        "agent.yaml:2: control_plane.ur",
        "agent.yaml:3: control_plane.url",
        "agent.yaml:4: agent.name",
        "agent.yaml:6: secret_stores.vault.adress",
        "agent.yaml:6: secret_stores.vault.auth.method",
        "agent.yaml:8: connectors.ml.access_key_id",
        "agent.yaml:8: connectors.ml.secret_access_key",
        "agent.yaml:10: artifact_stores.0.connector",
        "agent.yaml:11: artifact_stores.1.name",
        "agent.yaml:11: artifact_stores.1.uri",
        "agent.yaml:15: pipelines.0.command.1",
        "agent.yaml:16: pipelines.0.parameters.epochs",
        "agent.yaml:17: pipelines.0.environment.TOKEN",
        "agent.yaml:18: pipelines.0.timeout",
    ] == [": ".join(line.split(": ")[:2]) for line in found]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("agnt: {}", "did you mean agent?"),
        ("agent: {nam: x}", "did you mean name?"),
        ("agent: {colour: x}", "known here: buffer_memory, drain_deadline, labels"),
        ("secret_stores: {v: {type: file, rot: /x, root: /y}}", "did you mean root?"),
        ("secret_stores: {v: {type: fil}}", "'vault', 'file', 'env'"),
        (
            "connectors: {c: {type: aws, endpoint_url: 'http://minio:9000'}}",
            "connectors.c.endpoint_url: use https://, or set allow_plaintext: true",
        ),
        (
            "secret_stores: {s: {type: aws-secrets-manager, endpoint_url: 'http://aws.example'}}",
            "secret_stores.s.endpoint_url: use https://",
        ),
        ("secret_stores: {v: {root: /x}}", "secret_stores.v.type: should be there"),
        ("secret_stores: {v: {type: file}}", "secret_stores.v.root: is required"),
        ("connectors: {c: {type: aws, method: iam-role}}", "method iam-role needs role_arn"),
        (
            "control_plane: {url: 'wss://h/'}",
            "url: should be like wss://cloud.example.com/agent/v1",
        ),
        ("agent: {name: [a]}", "agent.name: should be text"),
        ("agent:", "agent: is empty; remove the key"),
        ("audit: []", "audit: should be a mapping"),
        ("policy: {rules: [{allow: 5}]}", "should be a list, as in [a, b] or '*'"),
        ("telemetry: {log: {level: loud}}", "should be 'debug', 'info', 'warning' or 'error'"),
        ("telemetry: {listen: nowhere}", "should be HOST:PORT"),
        ("agent: {buffer_memory: lots}", "should be a size such as 64KiB"),
        ("agent: {max_concurrent_jobs: 0}", "should be greater than or equal to 1"),
        ("control_plane: {proxy: 'ftp://p:1'}", "should be like http://proxy:3128"),
        ("connectors: {a b: {type: aws}}", "connectors.a b: should match pattern"),
    ],
)
def test_a_mistake_says_what_would_be_right(tmp_path, text, advice):
    """One mistake, one line, and what to write instead."""
    (line,) = complaints(tmp_path, text)

    assert line.startswith("agent.yaml:1: ")
    assert advice in line


PIPELINE = "pipelines: [{{name: p, runner: process, command: {command}, parameters: {parameters}}}]"


@pytest.mark.parametrize(
    ("command", "parameters", "complaint"),
    [
        ('["{x}"]', {"x": {}}, "command.0: should be a program, without a parameter"),
        ('[a, "--n={y}"]', {"x": {}}, "{y} should be a parameter; configured: x"),
        ("[a]", {"x": {"type": "integr"}}, "parameters.x: should be a JSON Schema"),
        (
            "[a]",
            {"x": {"type": "integer", "default": "3"}},
            "a default that its own schema refuses",
        ),
        ("[a]", {"x": {"$ref": "http://h/s", "default": 1}}, "without a $ref to another document"),
    ],
)
def test_a_pipeline_must_be_right_in_itself(tmp_path, command, parameters, complaint):
    """Placeholders name parameters, and parameters have schemas; nothing is fetched for that."""
    text = PIPELINE.format(command=command, parameters=json.dumps(parameters))

    (line,) = complaints(tmp_path, text)

    assert complaint in line


def test_a_store_in_a_bucket_needs_a_connector(tmp_path):
    """There is no such thing as s3:// without credentials of some kind."""
    (line,) = complaints(tmp_path, 'artifact_stores: [{name: a, uri: "s3://bucket"}]')

    assert "artifact_stores.0.connector: is required for s3://" in line


def test_a_store_of_files_needs_none(tmp_path):
    """A connector there is a misunderstanding."""
    text = 'artifact_stores: [{name: a, uri: "file:///srv", connector: c}]'

    (line,) = complaints(tmp_path, f"connectors: {{c: {{type: aws}}}}\n{text}")

    assert "agent.yaml:2: artifact_stores.0.connector: has no use for file://" in line


@pytest.mark.parametrize(
    "text",
    [
        "connectors: {c: {type: aws, access_key_id: SECRET, secret_access_key: SECRET}}",
        "control_plane: {proxy: 'gopher://user:SECRET@proxy:1'}",
        "control_plane: {url: 'wss://user:SECRET@cloud.example.com/agent/v1/connect'}",
        "agent: {max_concurrent_jobs: SECRET}",
        "agent: {drain_deadline: SECRET, buffer_memory: SECRET}",
        "telemetry: {log: {level: SECRET}, listen: SECRET}",
        "secret_stores: {v: {type: SECRET}}",
        "agent: *SECRET",
        "agent: !SECRET x",
        "agent: {name: 'SECRET",
        "agent: {name: !!int SECRET}",
        "policy: SECRET",
        "SECRET",
        "pipelines: [{name: p, runner: process, command: [a], environment: {A: 'secret://SECRET'}}]",
    ],
)
def test_no_value_is_repeated(tmp_path, text):
    """A value in the wrong place may be a secret, and errors end in logs."""
    assert SECRET not in "\n".join(complaints(tmp_path, text.replace("SECRET", SECRET)))
