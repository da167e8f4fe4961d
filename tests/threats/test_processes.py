"""What other processes can see and reach: rows 13, 25 and 37 of the threat model."""

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from demo.proof import forms
from demo.world import AGENT, ROOT
from tests.threats.fortress import Fortress, without_capabilities
from tests.waiting import wait_until

MARK = "of-the-agent-alone"
ESCAPES = "\x1b[2J\x1b[31m\r\n\x07\x08\x00\x7f\x9b31m\u202e\u2028"
FORGED = '{"level":"info","event":"job.forged"}'
LISTENING = "0A"


@pytest.fixture
def lasting(fortress: Fortress) -> Iterator[str]:
    """A run that is at work, with a secret in its environment."""
    job = fortress.submit("trigger-pipeline", pipeline="train-lasting")
    assert "running" == job["result"]["state"]
    yield job["result"]["run"]
    fortress.submit("stop-pipeline", run=job["result"]["run"])


def processes(mark: str) -> dict[int, bytes]:
    """Command lines in which *mark* stands, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if mark.encode() in command:
                found[int(entry.name)] = command
    return found


def test_no_command_line_shows_a_secret(fortress, lasting):
    """Neither of the agent nor of a supervisor nor of a pipeline nor of anything else."""
    commands = [
        path.read_bytes() for path in readable(Path("/proc").glob("[0-9]*/cmdline"))
    ]  # fmt: skip

    assert any(lasting.encode() in command for command in commands)
    for value in fortress.credentials.values():
        for _, needle in forms(value):
            assert not any(needle in command for command in commands)


def readable(paths: Iterator[Path]) -> Iterator[Path]:
    for path in paths:
        with suppress(OSError):
            path.read_bytes()
            yield path


@pytest.mark.parametrize("file", ["environ", "mem", "maps"])
def test_the_same_user_cannot_look_into_the_agent_or_a_supervisor(fortress, lasting, file):
    supervisor = next(pid for pid, line in processes(lasting).items() if b"supervisor" in line)

    def look(pid: int) -> bytes:
        look = without_capabilities("head", "-c0", f"/proc/{pid}/{file}")
        return subprocess.run(look, capture_output=True).stderr

    with subprocess.Popen(without_capabilities("cat"), stdin=subprocess.PIPE) as anybody:
        wait_until(lambda: b"" == look(anybody.pid), message="looking into just any process")
        assert b"ermission denied" in look(fortress.agent.pid)
        assert b"ermission denied" in look(supervisor)


def test_the_environment_of_the_agent_ends_there(fortress, monkeypatch):
    monkeypatch.setenv("AGENT_MARK", MARK)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", MARK)
    fortress.restart_agent()

    job = fortress.submit("trigger-pipeline", pipeline="train-talkative", wait=True)

    shown = fortress.cli("submit", "pipeline-logs", "--agent", AGENT, "-p", f"run={job['id']}",
                         "--follow").stdout  # fmt: skip
    names = set(re.findall(r"^environment (\w+) ", shown, re.MULTILINE))
    given = {"PATH", "HOME", "LANG", "CLOUD_AGENT_RUN_ID", "TRACKING_TOKEN", "COUNT_FILE"}
    assert MARK not in shown
    assert given >= names - {"LC_CTYPE"}


def listeners(pid: int) -> set[tuple[str, int]]:
    """Addresses, as the kernel writes them, and ports on which *pid* listens."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes |= set(re.findall(r"socket:\[(\d+)\]", str(descriptor.readlink())))
    lines = [
        line.split() for table in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]  # fmt: skip
    local = [line[1] for line in lines if line[9] in inodes and line[3] in (LISTENING, "07")]
    return {(where.split(":")[0], int(where.split(":")[1], 16)) for where in local}


def test_the_agent_listens_where_it_is_configured_and_nowhere_else(fortress):
    fortress.submit("fetch-artifact", uri=fortress.put("listened", b"x"))

    assert {("0100007F", fortress.health_port)} == listeners(fortress.agent.pid)


def test_an_agent_that_is_to_listen_nowhere_does_not(fortress):
    with reconfigured(fortress, wait=False, telemetry={"listen": None}):
        job = fortress.submit("fetch-artifact", uri=fortress.put("listened", b"x"))

        assert "succeeded" == job["state"]
        assert set() == listeners(fortress.agent.pid)


@contextmanager
def reconfigured(fortress: Fortress, *, wait: bool = True, **changes: object) -> Iterator[None]:
    fortress.agent.stop()
    fortress.write_config(**changes)
    fortress.start_agent(wait=wait)
    try:
        yield
    finally:
        fortress.restart_agent()


def ask(fortress: Fortress, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", fortress.health_port, timeout=5)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_the_health_port_takes_no_orders(fortress, method):
    for path in ("/livez", "/readyz", "/metrics", "/", "/config", "/reload", "/shutdown", "/jobs"):
        status, _ = ask(fortress, method, path, '{"draining":true}')
        assert 400 <= status < 500

    assert 200 == ask(fortress, "GET", "/readyz")[0]


def test_the_health_port_tells_no_secret_and_no_place(fortress):
    fortress.submit("fetch-artifact", uri=fortress.put("told", b"x"))

    told = "".join(ask(fortress, "GET", path)[1] for path in ("/livez", "/readyz", "/metrics"))

    for value in (*fortress.credentials.values(), str(fortress.directory), ROOT, "127.0.0.1"):
        assert value not in told
    for path in ("/", "/config", "/debug/pprof", "/metrics/../../etc/passwd", "/env", "/jobs"):
        assert 404 == ask(fortress, "GET", path)[0]


def inject(fortress: Fortress) -> None:
    """Put control characters and forged lines wherever the cloud or a bucket has a say."""
    evil = f"{ESCAPES}\n{FORGED}\n"
    fortress.submit(evil[:60])
    fortress.submit("fetch-artifact", uri=f"{ROOT}/{evil}")
    fortress.submit("fetch-artifact", uri=f"{ROOT}/x", **{evil: 1})
    fortress.submit("trigger-pipeline", pipeline=f"train-{evil}"[:120])
    fortress.submit("trigger-pipeline", pipeline="train-talkative", parameters={evil: evil})
    fortress.submit("trigger-pipeline", pipeline="train-talkative", parameters={"note": evil[4:]})
    fortress.submit("check-connector", connector=evil)
    fortress.submit("pipeline-status", run=evil)
    (fortress.files / "name\x1b[31m\nforged").write_bytes(b"x")
    fortress.submit("list-artifacts", uri=fortress.files.as_uri())


@pytest.mark.parametrize("format_", ["json", "console"])
def test_nothing_forges_a_line_of_the_log(fortress, format_):
    with reconfigured(fortress, telemetry={"log": {"level": "debug", "format": format_}}):
        begin = len(fortress.log_bytes())
        inject(fortress)
        log = fortress.log_bytes()[begin:].decode()

    assert log.count("job.refused") >= 5
    lines = log.removesuffix("\n").split("\n")
    assert all(character.isprintable() for line in lines for character in line)
    assert all(re.match(r'\{"timestamp"|\d{4}-\d\d-\d\dT|    \| ', line) for line in lines)
    if format_ == "json":
        assert "job.forged" not in {json.loads(line)["event"] for line in lines}


def test_nothing_forges_a_line_of_the_audit_log(fortress):
    inject(fortress)

    lines = (fortress.agent_state / "audit.jsonl").read_text().split("\n")[:-1]
    assert all(line.isprintable() for line in lines)
    assert "job.forged" not in {json.loads(line)["event"] for line in lines}
    assert 0 == subprocess.run(fortress.agent_command("audit", "verify")).returncode
