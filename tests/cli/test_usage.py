"""What every verb has in common: help, exit codes, no traceback, and a quick start."""

import subprocess
import sys

import pytest

from agent.errors import Exit
from tests.cli.commands import cloud_agent

VERBS = [
    "run",
    "check",
    "exec",
    "policy",
    "policy explain",
    "enroll",
    "audit",
    "audit verify",
    "config",
    "config show",
    "config schema",
    "ready",
    "live",
    "version",
]
TAKE_SETTINGS = ["run", "check", "exec", "enroll", "config show"]
HEAVY = {"asyncio", "pydantic", "yaml", "structlog", "websockets", "cryptography", "ssl", "boto3"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb):
    """A line of the shell that can be copied."""
    done = cloud_agent(*verb.split(), "--help")

    assert Exit.DONE == done.returncode
    assert f"cloud-agent {verb.split()[0]}" in done.stdout.partition("example:")[2]


@pytest.mark.parametrize("verb", TAKE_SETTINGS)
def test_verbs_that_use_settings_take_flags_for_some(verb):
    """The strongest source of a setting."""
    assert "--state-dir" in cloud_agent(*verb.split(), "--help").stdout


@pytest.mark.parametrize("arguments", [["version"], ["version", "--json"], ["--help"]])
def test_version_and_help_import_nothing_heavy(arguments):
    """They are asked often, and by scripts."""
    script = (
        "import sys; from agent.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert set() == HEAVY & set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rum"],
        ["run", "--conf", "x"],
        ["run", "-c", "/nonexistent/agent.yaml"],
        ["run"],
        ["check"],
        ["enroll", "--join-token-file", "x"],
        ["enroll"],
        ["exec", "-f", "/nonexistent/job.json"],
        ["config", "show", "--log-level", "loud"],
        ["ready", "--url", "ftp://127.0.0.1"],
        ["audit", "verify", "/nonexistent/audit.jsonl"],
    ],
)
def test_wrong_usage_exits_with_2_and_no_traceback(arguments):
    """A user's mistake is a sentence."""
    done = cloud_agent(*arguments)

    assert Exit.USAGE == done.returncode
    assert done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration_lists_every_error(tmp_path):
    """On standard error, so that standard output stays clean for pipes."""
    config = tmp_path / "agent.yaml"
    config.write_text("agnt: {}\naudit: {fil: x}\n")

    done = cloud_agent("config", "show", "-c", config)

    assert (Exit.USAGE, "") == (done.returncode, done.stdout)
    assert f"{config}:1: agnt: unknown key; did you mean agent?" in done.stderr
    assert f"{config}:2: audit.fil: unknown key; did you mean file?" in done.stderr


@pytest.mark.parametrize("verb", [["config", "schema"], ["version"]])
def test_a_reader_that_goes_away_is_no_traceback(verb):
    """As in `cloud-agent config schema | head -1`; short output fails only at the last flush."""
    command = [sys.executable, "-m", "agent", *verb]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, complaint = process.communicate(timeout=30)

    assert (Exit.FAILED, b"") == (process.returncode, complaint)
