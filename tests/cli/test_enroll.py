"""`cloud-agent enroll` where the control plane can't be asked."""

from agent.errors import Exit
from tests.cli.commands import cloud_agent
from tests.servers.processes import free_port


def test_a_control_plane_that_does_not_answer_exits_with_4(tmp_path):
    """Which a script can tell from a wrong token; the token is in no output."""
    (tmp_path / "token").write_text("one-time-token-of-a-test")
    environ = {
        "CLOUD_AGENT__CONTROL_PLANE__URL": f"ws://127.0.0.1:{free_port()}/agent/v1/connect",
        "CLOUD_AGENT__AGENT__STATE_DIR": str(tmp_path / "state"),
    }

    done = cloud_agent("enroll", "--join-token-file", tmp_path / "token", environ=environ)

    assert Exit.UNREACHABLE == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert "one-time-token" not in done.stderr + done.stdout


def test_a_missing_token_file_exits_with_2(tmp_path):
    """A person has to make one."""
    environ = {
        "CLOUD_AGENT__CONTROL_PLANE__URL": f"ws://127.0.0.1:{free_port()}/agent/v1/connect",
        "CLOUD_AGENT__AGENT__STATE_DIR": str(tmp_path / "state"),
    }

    done = cloud_agent("enroll", "--join-token-file", tmp_path / "no-token", environ=environ)

    assert Exit.USAGE == done.returncode, done.stderr
    assert "no-token" in done.stderr
