"""`cloud-agent check` as a user runs it."""

import asyncio
import json
from pathlib import Path

from agent.errors import Exit
from tests.cli.commands import cloud_agent
from tests.preflight.origin import origin

CONFIG = """\
control_plane: {{url: "ws://127.0.0.1:{port}/agent/v1/connect", join_token_file: {directory}/token}}
agent: {{state_dir: {directory}/state}}
secret_stores: {{files: {{type: file, root: {directory}}}}}
artifact_stores: [{{name: local, uri: "file://{directory}/artifacts"}}]
policy: {{rules: [{{allow: [fetch-artifact], artifacts: ["file://{directory}/artifacts/**"]}}]}}
"""


def configured(directory: Path, port: int) -> Path:
    """Write a configuration in which all is well, as long as *port* answers."""
    (directory / "artifacts").mkdir()
    (directory / "token").write_text("one-time")
    path = directory / "agent.yaml"
    path.write_text(CONFIG.format(port=port, directory=directory))
    return path


async def test_all_is_well(tmp_path):
    """Exit 0, one row each, and nothing was made."""
    async with origin() as port:
        config = configured(tmp_path, port)
        done = await asyncio.to_thread(cloud_agent, "check", "-c", config, "--json")

    shown = json.loads(done.stdout)
    assert (Exit.DONE, True) == (done.returncode, shown["passed"]), done.stdout
    assert [
        "config", "files", "state directory", "disk", "identity", "proxy", "dns", "tcp", "clock",
        "secret store files", "artifact store local", "policy",
    ] == [row["what"] for row in shown["rows"]]  # fmt: skip
    assert not (tmp_path / "state").exists()


async def test_all_failures_come_in_one_run(tmp_path):
    """With what to do about each, and exit 1."""
    async with origin() as port:
        config = configured(tmp_path, port)
    (tmp_path / "token").unlink()
    (tmp_path / "artifacts").rmdir()

    done = await asyncio.to_thread(cloud_agent, "check", "-c", config)

    failed = [line.split("  ")[1] for line in done.stdout.splitlines() if line[:4] == "FAIL"]
    assert Exit.FAILED == done.returncode
    assert ["identity", "tcp", "artifact store local"] == failed
    assert 3 == done.stdout.count("-> ")


def test_a_wrong_configuration_is_a_row_too(tmp_path):
    """Exit 2, and every mistake in it."""
    (tmp_path / "agent.yaml").write_text("agnt: {}\naudt: {}\n")

    done = cloud_agent("check", "-c", tmp_path / "agent.yaml", "--json")

    (row,) = json.loads(done.stdout)["rows"]
    assert (Exit.USAGE, "FAIL") == (done.returncode, row["status"])
    assert "did you mean agent?" in row["found"]
    assert "did you mean audit?" in row["found"]
