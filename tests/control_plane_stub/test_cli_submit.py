"""`control-plane-stub submit`, run as a process against a control plane with scripted answers."""

import json
import signal
from pathlib import Path

import pytest

from tests.control_plane_stub.commands import Ran, run, start
from tests.control_plane_stub.rest_double import TOKEN, RestDouble, ScriptedJob

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(name="token_file")
def _token_file(tmp_path: Path) -> Path:
    path = tmp_path / "api-token"
    path.write_text(TOKEN + "\n")
    return path


def fetch(*more: str | Path) -> tuple[str | Path, ...]:
    return ("submit", "fetch-artifact", "--agent", "a", "-p", "uri=s3://b/k", *more)


class TestContent:
    async def test_is_written_whole(self, token_file: Path, tmp_path: Path) -> None:
        async with RestDouble(ScriptedJob(CONTENT)).running() as double:
            ran = await run(*fetch("-o", tmp_path / "k"), server=double.url, token_file=token_file)

        assert (ran.code, (tmp_path / "k").read_bytes()) == (0, CONTENT)

    async def test_is_resumed_by_range(self, token_file: Path, tmp_path: Path) -> None:
        script = ScriptedJob(CONTENT, cut_content_at=[300_000, 700_000])
        async with RestDouble(script).running() as double:
            ran = await run(*fetch("-o", tmp_path / "k"), server=double.url, token_file=token_file)

        assert (ran.code, (tmp_path / "k").read_bytes()) == (0, CONTENT)
        assert double.ranges[0] is None
        assert len(double.ranges) == 3

    async def test_is_not_doubled_when_ranges_are_ignored(
        self, token_file: Path, tmp_path: Path
    ) -> None:
        script = ScriptedJob(CONTENT, cut_content_at=[300_000], honours_range=False)
        async with RestDouble(script).running() as double:
            ran = await run(*fetch("-o", tmp_path / "k"), server=double.url, token_file=token_file)

        assert (ran.code, (tmp_path / "k").read_bytes()) == (0, CONTENT)

    async def test_with_another_sha256_leaves_no_file(
        self, token_file: Path, tmp_path: Path
    ) -> None:
        script = ScriptedJob(CONTENT, sha256="0" * 64)
        async with RestDouble(script).running() as double:
            ran = await run(*fetch("-o", tmp_path / "k"), server=double.url, token_file=token_file)

        assert ran.code == 1
        assert "SHA-256" in ran.err
        assert list(tmp_path.iterdir()) == [token_file]

    async def test_of_a_failed_job_leaves_the_old_file(
        self, token_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "k").write_text("old")
        script = ScriptedJob(CONTENT, state="failed", reason="changed")
        async with RestDouble(script).running() as double:
            ran = await run(*fetch("-o", tmp_path / "k"), server=double.url, token_file=token_file)

        assert (ran.code, (tmp_path / "k").read_text()) == (1, "old")
        assert sorted(tmp_path.iterdir()) == [token_file, tmp_path / "k"]

    async def test_alone_goes_to_stdout(self, token_file: Path) -> None:
        script = ScriptedJob(b"a,b\n1,2\n", result={"size": 8}, log="reading\n")
        async with RestDouble(script).running() as double:
            ran = await run(*fetch("-o", "-"), server=double.url, token_file=token_file)

        assert (ran.code, ran.out) == (0, "a,b\n1,2\n")
        assert "reading" in ran.err


class TestLog:
    async def test_is_shown_once_over_a_lost_connection(self, token_file: Path) -> None:
        script = ScriptedJob(log="one\ntwo\nthree\n", cut_events=3)
        async with RestDouble(script).running() as double:
            ran = await run(*fetch("--follow"), server=double.url, token_file=token_file)

        assert (ran.code, ran.out) == (0, "one\ntwo\nthree\n")
        assert double.last_event_ids == [None, "3"]


class TestRequest:
    async def test_carries_parameters_of_all_three_forms(
        self, token_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "p.json").write_text('{"pipeline": "train", "parameters": {"epochs": 1}}')
        arguments = (
            *("submit", "trigger-pipeline", "--agent", "a", "--params", tmp_path / "p.json"),
            *("-p", "parameters.epochs=3", "-p", "note=not JSON", "--deadline", "5m", "--follow"),
        )
        async with RestDouble(ScriptedJob()).running() as double:
            await run(*arguments, server=double.url, token_file=token_file)

        assert double.requests == [
            {
                "agent": "a",
                "kind": "trigger-pipeline",
                "parameters": {
                    "pipeline": "train",
                    "parameters": {"epochs": 3},
                    "note": "not JSON",
                    "wait": True,
                },
                "deadline_s": 300.0,
            }
        ]

    async def test_may_be_left_to_itself(self, token_file: Path) -> None:
        async with RestDouble(ScriptedJob(never_ends=True)).running() as double:
            ran = await run(*fetch("--no-wait"), server=double.url, token_file=token_file)

        assert ran == Ran(0, "job-0\n", "")


class TestOutcome:
    @pytest.mark.parametrize(
        ("state", "reason", "code"),
        [
            ("succeeded", None, 0),
            ("failed", "not_found", 1),
            ("timed_out", "deadline", 1),
            ("refused", "busy", 1),
            ("refused", "policy_denied", 3),
        ],
    )
    async def test_is_the_exit_code(
        self, state: str, reason: str | None, code: int, token_file: Path
    ) -> None:
        script = ScriptedJob(state=state, reason=reason, message="said the agent")
        async with RestDouble(script).running() as double:
            ran = await run(*fetch(), server=double.url, token_file=token_file)

        assert ran.code == code
        assert f"job job-0 {state}" in ran.err

    async def test_is_the_whole_record_as_json(self, token_file: Path) -> None:
        script = ScriptedJob(b"x", result={"size": 1}, log="reading\n")
        async with RestDouble(script).running() as double:
            ran = await run(*fetch("--json"), server=double.url, token_file=token_file)

        record = json.loads(ran.out)
        assert (record["id"], record["state"], record["result"]) == (
            "job-0",
            "succeeded",
            {"size": 1},
        )

    async def test_interrupt_leaves_the_job_alone(self, token_file: Path, tmp_path: Path) -> None:
        async with RestDouble(ScriptedJob(never_ends=True)).running() as double:
            process = await start(
                *fetch("-o", tmp_path / "k"), server=double.url, token_file=token_file
            )
            assert process.stderr is not None
            await process.stderr.readuntil(b"running")
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()

        assert process.returncode == 130
        assert b"cancel job-0" in err
        assert list(tmp_path.iterdir()) == [token_file]
