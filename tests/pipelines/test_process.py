"""How a process pipeline starts, writes, ends and is ended."""

import json
from pathlib import Path

import pytest

from agent.errors import PipelineFailed
from agent.pipelines.base import RunState
from tests.pipelines.lab import (
    Lab,
    ended,
    gone,
    python,
    run_to_end,
    shell,
    start,
    whole_log,
)
from tests.waiting import until

# Leaves the session by a double fork, and asks not to be ended.
ESCAPE = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(sys.argv[1] + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(sys.argv[1] + ".new", sys.argv[1])
        signal.pause()
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize(
    ("script", "state", "code"),
    [
        ("exit 0", RunState.SUCCEEDED, 0),
        ("exit 42", RunState.FAILED, 42),
        ("kill -KILL $$", RunState.FAILED, -9),
    ],
)
async def test_how_it_ended_is_kept(lab: Lab, script, state, code):
    """An exit code, or the signal that ended it as a negative number."""
    status, _ = await run_to_end(lab.runner(shell(script)))

    assert (state, code) == (status.state, status.exit_code)


async def test_a_stop_ends_the_whole_tree(lab: Lab, tmp_path: Path):
    """Also a child that left the session by a double fork and ignores SIGTERM."""
    escaped = tmp_path / "escaped"
    runner = lab.runner(python(ESCAPE + "signal.pause()", escaped), stop_grace=0.2)
    await start(runner)
    await until(escaped.exists)

    status = await runner.stop("run")

    assert (RunState.STOPPED, -15) == (status.state, status.exit_code)
    assert gone(int(escaped.read_text()))


async def test_nothing_outlives_the_main_process(lab: Lab, tmp_path: Path):
    """What a pipeline leaves behind when it ends by itself is killed."""
    escaped = tmp_path / "escaped"
    wait = "import time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"
    runner = lab.runner(python(ESCAPE + wait, escaped), stop_grace=60)

    status, _ = await run_to_end(runner)

    assert RunState.SUCCEEDED == status.state
    assert gone(int(escaped.read_text()))


async def test_a_pipeline_may_clean_up_when_it_is_stopped(lab: Lab):
    """SIGTERM comes first, and what it writes then is in the log."""
    script = 'trap "echo saved; exit 7" TERM; echo ready; while :; do :; done'
    runner = lab.runner(shell(script))
    await start(runner)
    await anext(aiter(runner.log("run", follow=True)))

    status = await runner.stop("run")

    assert (RunState.STOPPED, 7) == (status.state, status.exit_code)
    assert "ready\nsaved\n" == await whole_log(runner)


async def test_children_get_the_grace_period_as_well(lab: Lab):
    """A shell ends at once when it is asked to; the command it ran may still save its work."""
    child = 'trap "sleep 0.1; echo saved; exit" TERM; echo ready; while :; do :; done'
    runner = lab.runner(shell('/bin/sh -c "$1" & wait', child))
    await start(runner)
    await anext(aiter(runner.log("run", follow=True)))

    await runner.stop("run")

    assert (await whole_log(runner)).endswith("saved\n")


async def test_who_ignores_the_request_is_killed_after_the_grace(lab: Lab):
    runner = lab.runner(shell('trap "" TERM; echo ready; while :; do :; done'), stop_grace=0.1)
    await start(runner)
    await anext(aiter(runner.log("run", follow=True)))

    status = await runner.stop("run")

    assert (RunState.STOPPED, -9) == (status.state, status.exit_code)


async def test_a_timeout_ends_the_run(lab: Lab):
    """After the timeout it is stopped as by a stop, with a state of its own."""
    status, _ = await run_to_end(lab.runner(shell("sleep 1000"), timeout=0.1))

    assert (RunState.TIMED_OUT, -15) == (status.state, status.exit_code)


async def test_a_missing_command_fails_without_a_path(lab: Lab):
    """The public text names no path, the detail does; the name is used up."""
    runner = lab.runner(["/no/such/program"])

    with pytest.raises(PipelineFailed) as failed:
        await start(runner)

    assert "the pipeline could not be started" == str(failed.value)
    assert "/no/such/program" in str(failed.value.detail)
    assert RunState.FAILED == (await start(runner)).state


async def test_a_missing_directory_fails_alike(lab: Lab, tmp_path: Path):
    with pytest.raises(PipelineFailed) as failed:
        await start(lab.runner(shell("true"), directory=tmp_path / "missing"))

    assert "missing" not in str(failed.value)


async def test_a_state_directory_that_is_none_fails_the_start(lab: Lab):
    """As a full or read-only disk does."""
    lab.state_dir.write_text("a file")

    with pytest.raises(PipelineFailed):
        await start(lab.runner(shell("true")))


async def test_it_runs_in_its_directory_without_input(lab: Lab, tmp_path: Path):
    runner = lab.runner(shell("pwd; umask; cat; echo end"), directory=tmp_path)

    _, log = await run_to_end(runner)

    assert f"{tmp_path}\n0077\nend\n" == log


async def test_a_parameter_stays_one_argument(lab: Lab):
    """No shell, no splitting, no second round of placeholders."""
    value = "two words; $(id) 'q' {other} *\n--x"
    command = python("import json, sys; print(json.dumps(sys.argv[1:]))", "v={name}", "{other}")
    text = {"type": "string"}
    runner = lab.runner(command, parameters={"name": text, "other": text})

    _, log = await run_to_end(runner, name=value, other="o")

    assert [f"v={value}", "o"] == json.loads(log)


async def test_the_log_is_cut_at_its_limit(lab: Lab):
    """The pipeline goes on, and the last line says that something is missing."""
    runner = lab.runner(shell("yes 12345678 | head -n 10000; exit 5"), log_limit=90)

    status, log = await run_to_end(runner)

    assert 5 == status.exit_code
    assert "12345678\n" * 10 + "\n[log cut after 90 bytes]\n" == log


async def test_a_large_log_arrives_whole(lab: Lab):
    """Chunk by chunk, each at most 32 KiB, without a gap."""
    runner = lab.runner(shell("seq 1 50000"))
    await start(runner)

    chunks = [chunk async for chunk in runner.log("run", follow=True)]

    assert "".join(f"{n}\n" for n in range(1, 50001)) == "".join(chunk.text for chunk in chunks)
    assert [chunk.end for chunk in chunks[:-1]] == [chunk.offset for chunk in chunks[1:]]
    assert max(chunk.end - chunk.offset for chunk in chunks) <= 32 * 1024


async def test_no_zombie_stays_behind(lab: Lab):
    runner = lab.runner(shell("true"))
    await start(runner)
    pid = lab.supervisor()

    await ended(runner)

    await until(lambda: not Path(f"/proc/{pid}").exists(), message="the reaping")


async def test_the_supervisor_stays_small(lab: Lab):
    """There is one for each run, so it may not load what the agent loads."""
    runner = lab.runner(shell("sleep 1000"))
    await start(runner)

    status = Path(f"/proc/{lab.supervisor()}/status").read_text()

    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 32 * 1024
    await runner.stop("run")
