"""THREATS row 13 attacked: the secrets of a pipeline reach its environment and nothing else."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import CredentialUnavailable, NotFound, PipelineFailed
from tests.pipelines.lab import Lab, python, run_to_end, shell, start
from tests.waiting import until

SECRET = "correct-horse-battery"
PR_GET_DUMPABLE = 3
TOKEN = {"TOKEN": "secret://vault/token"}


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.secrets["token"] = SECRET
    return lab


async def test_the_environment_is_clean(lab: Lab, monkeypatch):
    """Exactly the promised variables; nothing of the agent's own."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-agent")
    code = "import os; print(sorted(os.environ)); print(os.environ['CLOUD_AGENT_RUN_ID'])"
    runner = lab.runner(python(code), environment={"LEVEL": "3"} | TOKEN)

    _, log = await run_to_end(runner)

    names = sorted(["PATH", "HOME", "LANG", "CLOUD_AGENT_RUN_ID", "LEVEL", "TOKEN"])
    assert f"{names}\nrun\n" == log


async def test_the_secret_arrives(lab: Lab):
    """The log can't show it, but its length can."""
    _, log = await run_to_end(lab.runner(shell("echo ${#TOKEN} $TOKEN"), environment=TOKEN))

    assert f"{len(SECRET)} ***\n" == log


@pytest.mark.parametrize("place", ["cmdline", "environ"])
async def test_no_process_of_ours_shows_it(lab: Lab, place):
    """Not the supervisor's command line or environment, not the pipeline's command line."""
    runner = lab.runner(shell("echo $$; exec sleep 1000"), environment=TOKEN)
    await start(runner)
    chunk = await anext(aiter(runner.log("run", follow=True)))

    shown = Path(f"/proc/{lab.supervisor()}/{place}").read_bytes()
    argv = Path(f"/proc/{chunk.text.strip()}/cmdline").read_bytes()

    assert SECRET.encode() not in shown + argv
    await runner.stop("run")


async def test_no_privileges_can_be_gained(lab: Lab):
    """Set-user-id programs have no effect, neither for the supervisor nor for the pipeline."""
    runner = lab.runner(shell("grep NoNewPrivs /proc/self/status; exec sleep 9"), environment=TOKEN)
    await start(runner)
    chunk = await anext(aiter(runner.log("run", follow=True)))

    supervisor = Path(f"/proc/{lab.supervisor()}/status").read_text()

    assert "NoNewPrivs:\t1\n" == chunk.text
    assert "NoNewPrivs:\t1\n" in supervisor
    await runner.stop("run")


def test_the_supervisor_hides_its_memory():
    """The kernel lets no other process of the same user read an undumpable one."""
    code = (
        "import ctypes; from agent.pipelines import process_tree; process_tree.confine(); "
        f"print(ctypes.CDLL(None).prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0))"
    )

    shown = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)

    assert "0\n" == shown.stdout


async def test_no_descriptor_is_inherited(lab: Lab):
    """Above all not the lock, which would outlive the supervisor."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)

    _, log = await run_to_end(lab.runner(shell("ls /proc/self/fd | wc -l"), environment=TOKEN))

    os.close(reader)
    os.close(writer)
    assert "4\n" == log.replace(" ", "")


@pytest.mark.parametrize("size", [1, 4, 20])
async def test_a_secret_split_over_writes_is_redacted(lab: Lab, size):
    """However the pieces arrive, and on whichever of the two outputs."""
    code = """
import os, sys, time
data = ("<" + os.environ["TOKEN"] + ">\\n").encode()
for at in range(0, len(data), size := int(sys.argv[1])):
    os.write(1 + at % 2, data[at : at + size])
    time.sleep(0.002)
"""
    runner = lab.runner(python(code, size), environment=TOKEN)

    _, log = await run_to_end(runner)

    assert "<***>\n" == log


async def test_the_disk_never_has_it(lab: Lab):
    """No file of the run, and none beside it, holds the secret."""
    await run_to_end(lab.runner(shell("env; echo $TOKEN >&2; exit 1"), environment=TOKEN))

    files = [path for path in lab.state_dir.rglob("*") if path.is_file()]

    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert {0o600} == {path.stat().st_mode & 0o777 for path in files}
    assert 0o700 == lab.directory().path.stat().st_mode & 0o777


async def test_the_beginning_of_a_secret_is_not_lost(lab: Lab):
    """What was held back comes out when the run ends."""
    _, log = await run_to_end(lab.runner(shell("printf correct-horse"), environment=TOKEN))

    assert "correct-horse" == log


async def test_a_line_does_not_wait_for_the_next(lab: Lab):
    """A complete line is in the log at once, though more of a secret could follow any text."""
    runner = lab.runner(shell("echo ready; exec sleep 1000"), environment=TOKEN)
    await start(runner)

    await until(lambda: lab.directory().log.read_bytes() == b"ready\n")

    await runner.stop("run")


async def test_without_its_secret_nothing_starts(lab: Lab):
    """The secret store is down: the run can be started later."""
    runner = lab.runner(shell("echo hi"), environment=TOKEN)

    async def fail(*_: object) -> None:
        raise CredentialUnavailable

    lab.hold = fail
    with pytest.raises(CredentialUnavailable):
        await start(lab.runner(shell("echo hi"), environment=TOKEN))
    with pytest.raises(NotFound):
        await runner.status("run")


async def test_a_bad_parameter_touches_no_secret(lab: Lab):
    """Checked before the secret store is asked; a known run asks for none either."""
    runner = lab.runner(shell("true"), environment=TOKEN)
    status, _ = await run_to_end(runner)
    lab.secrets.clear()

    assert status == await start(runner)


async def test_secrets_are_held_until_the_run_has_ended(lab: Lab):
    """For as long as it may last and no longer; a second start of it holds nothing."""
    limits = {"timeout": 1000.0, "stop_grace": 7.0}
    runner = lab.runner(shell("exec sleep 1000"), environment=TOKEN, **limits)
    await start(runner)
    await start(runner)
    assert ([1007.0], []) == (lab.held, lab.released)

    await runner.stop("run")

    await until(lambda: [1007.0] == lab.released)


async def test_secrets_are_released_when_nothing_could_be_started(lab: Lab):
    runner = lab.runner(["/missing"], environment=TOKEN)

    with pytest.raises(PipelineFailed):
        await start(runner)

    await until(lambda: lab.released)
    assert len(lab.held) <= len(lab.released)


async def test_secrets_are_released_when_another_agent_was_faster(lab: Lab):
    """It starts the run while this one waits for its secrets."""
    slow, fast = (lab.runner(shell("exec sleep 1000"), environment=TOKEN) for _ in range(2))
    hold, gate = lab.hold, asyncio.Event()

    async def waiting(references, seconds):
        await gate.wait()
        return await hold(references, seconds)

    slow._hold = waiting
    late = asyncio.create_task(start(slow))
    await start(fast)

    gate.set()
    await late

    assert (2, 1) == (len(lab.held), len(lab.released))
    await fast.stop("run")
