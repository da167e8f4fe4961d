"""`cloud-agent exec` and `policy explain` with a real store."""

import json
import os

import pytest

from agent.errors import Exit
from tests.cli.commands import cloud_agent

CONFIG = """\
agent: {{state_dir: {directory}/state}}
artifact_stores: [{{name: local, uri: "file://{directory}/artifacts"}}]
policy:
  rules:
    - {{allow: [fetch-artifact], artifacts: ["file://{directory}/artifacts/**"], max_bytes: 1MiB}}
    - {{deny: "*", artifacts: ["**/pii/**"]}}
"""


@pytest.fixture
def place(tmp_path):
    """A directory with an artifact, and a configuration that lets it be fetched."""
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "model.bin").write_bytes(b"\x00\xffmodel")
    (tmp_path / "agent.yaml").write_text(CONFIG.format(directory=tmp_path))
    return tmp_path


def fetch(place, key):
    """Return the job that fetches *key*."""
    parameters = {"uri": f"file://{place}/artifacts/{key}"}
    return json.dumps({"kind": "fetch-artifact", "parameters": parameters})


def test_the_data_and_the_outcome_go_different_ways(place):
    """The data to the file, the outcome to standard error, as the last line."""
    output = place / "out.bin"

    done = cloud_agent(
        "exec", "-c", place / "agent.yaml", "-f", "-", "-o", output, stdin=fetch(place, "model.bin")
    )

    assert Exit.DONE == done.returncode, done.stderr
    assert b"\x00\xffmodel" == output.read_bytes()
    assert "succeeded" == json.loads(done.stderr.splitlines()[-1])["outcome"]


@pytest.mark.parametrize(
    ("key", "code", "reason"),
    [
        ("pii/people", Exit.REFUSED, "policy_denied"),
        ("no-such-thing", Exit.FAILED, "not_found"),
    ],
)
def test_what_did_not_succeed_leaves_no_file(place, key, code, reason):
    """And is told apart by the exit code."""
    output = place / "out.bin"

    done = cloud_agent(
        "exec", "-c", place / "agent.yaml", "-f", "-", "-o", output, stdin=fetch(place, key)
    )

    assert code == done.returncode, done.stderr
    assert reason == json.loads(done.stderr.splitlines()[-1])["reason"]
    assert not os.path.exists(output)


@pytest.mark.parametrize(
    ("key", "code", "allowed", "rule"),
    [("model.bin", Exit.DONE, True, 0), ("pii/people", Exit.REFUSED, False, 1)],
)
def test_explain_names_the_rule_that_decides(place, key, code, allowed, rule):
    """For programs, and as a sentence for people."""
    arguments = ["policy", "explain", "-c", place / "agent.yaml", "-f", "-"]

    as_json = cloud_agent(*arguments, "--json", stdin=fetch(place, key))
    text = cloud_agent(*arguments, stdin=fetch(place, key))

    decision = json.loads(as_json.stdout)
    assert (code, code) == (as_json.returncode, text.returncode), text.stderr
    assert (allowed, rule) == (decision["allowed"], decision["rule"])
    assert f"{'allowed' if allowed else 'denied'} (by policy.rules.{rule})" in text.stdout
