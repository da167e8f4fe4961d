"""Every client verb of `control-plane-stub` against a control plane that `serve` runs."""

import json
import signal
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Reason
from tests.control_plane_stub.commands import Ran, run, start
from tests.control_plane_stub.served import Served, served
from tests.control_plane_stub.wire_agent import Answer, answering_agent
from tests.servers.tls import CertificateAuthority

CONTENT = bytes(range(256)) * 2000
ANSWERS = {
    "s3://b/k": Answer(CONTENT, log="reading\n", result={"size": 1}),
    "s3://b/pii": Answer(refusal=Reason.POLICY_DENIED, message="not allowed"),
    "train": Answer(log="epoch 1\n", waits=True),
}
Command = Callable[..., Awaitable[Ran]]


def _answer(kind: str, parameters: dict[str, Any]) -> Answer:
    return ANSWERS[parameters.get("uri") or parameters["pipeline"]]


@pytest.fixture(name="plane")
async def _plane(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "state") as plane:
        yield plane


@pytest.fixture(name="command")
def _command(plane: Served) -> Command:
    return partial(run, server=plane.url, token_file=plane.token_file)


@pytest.fixture(name="agent")
async def _agent(plane: Served, command: Command) -> AsyncIterator[None]:
    token = (await command("join-token", "create", "--agent", "a")).out.strip()
    async with answering_agent(plane.url, "a", join_token=token, answering=_answer):
        yield


class TestJoinToken:
    async def test_goes_to_a_file_for_its_owner_only(
        self, command: Command, tmp_path: Path
    ) -> None:
        target = tmp_path / "join-token"

        ran = await command("join-token", "create", "--agent", "a", "--ttl", "5m", "-o", target)

        assert (ran.code, ran.out) == (0, "")
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert target.read_text().strip() not in ran.err


class TestSubmit:
    async def test_writes_what_the_agent_sent(
        self, command: Command, agent: None, tmp_path: Path
    ) -> None:
        submit = ("submit", "fetch-artifact", "--agent", "a", "-p", "uri=s3://b/k")

        ran = await command(*submit, "-o", tmp_path / "k")

        assert (ran.code, (tmp_path / "k").read_bytes()) == (0, CONTENT)
        assert "reading\n" in ran.out

    async def test_tells_a_refusal_by_policy(self, command: Command, agent: None) -> None:
        ran = await command("submit", "fetch-artifact", "--agent", "a", "-p", "uri=s3://b/pii")

        assert (ran.code, ran.out) == (3, "")
        assert "refused (policy_denied: not allowed)" in ran.err


class TestListing:
    async def test_shows_jobs_and_agents(self, command: Command, agent: None) -> None:
        await command("submit", "fetch-artifact", "--agent", "a", "-p", "uri=s3://b/k")

        jobs = json.loads((await command("jobs", "--agent", "a", "--json")).out)["jobs"]
        table = (await command("jobs", "--state", "succeeded")).out
        agents = (await command("agents")).out

        assert [job["state"] for job in jobs] == ["succeeded"]
        assert jobs[0]["id"] in table
        name, instance, state = agents.splitlines()[1].split()[:3]
        assert (name, instance[:2], state) == ("a", "i-", "online")


class TestCancel:
    async def test_of_a_job_that_is_not_there_ends_with_2(self, command: Command) -> None:
        ran = await command("cancel", "no-such-job")

        assert ran.code == 2
        assert "Traceback" not in ran.err

    async def test_ends_a_job_that_no_agent_has_taken(self, command: Command) -> None:
        submit = ("submit", "fetch-artifact", "--agent", "a", "-p", "uri=s3://b/k", "--no-wait")
        job = (await command(*submit)).out.strip()

        cancelled = await command("cancel", job)

        jobs = json.loads((await command("jobs", "--json")).out)["jobs"]
        assert (cancelled.code, jobs[0]["state"]) == (0, "cancelled")


class TestFault:
    async def test_is_set_listed_and_cleared(self, command: Command) -> None:
        ran = await command("fault", "cut", "--agent", "a", "--after-bytes", "100", "--count", "20")
        listed = json.loads((await command("fault", "list", "--json")).out)["faults"]
        await command("fault", "clear")
        left = (await command("fault", "list")).out

        assert ran.code == 0
        assert [(fault["fault"], fault["left"]) for fault in listed] == [("cut", 20)]
        assert left == "no faults are set\n"

    @pytest.mark.parametrize("fault", ["stall", "refuse", "delay", "duplicate", "reorder"])
    async def test_is_known_to_the_server(self, command: Command, fault: str) -> None:
        assert (await command("fault", fault, "--agent", "a", "--seconds", "1")).code == 0


class TestServe:
    async def test_ends_well_when_it_is_told_to(self, tmp_path: Path) -> None:
        arguments = ("serve", "--listen", "127.0.0.1:0", "--state-dir", tmp_path / "state")
        process = await start(*arguments, server="", token_file=tmp_path)
        assert process.stdout is not None
        await process.stdout.readline()

        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()

        token = (tmp_path / "state" / "api-token").read_text().strip()
        assert process.returncode == 0
        assert token not in (out + err).decode()

    async def test_says_that_its_port_is_taken(self, plane: Served, tmp_path: Path) -> None:
        taken = plane.url.removeprefix("http://")

        ran = await run(
            *("serve", "--listen", taken, "--state-dir", tmp_path / "other"),
            **{"server": "", "token_file": tmp_path},
        )

        assert ran.code == 2
        assert taken in ran.err
        assert "Traceback" not in ran.err

    async def test_of_tls_needs_the_issuer_at_the_client(
        self, certificate_authority: CertificateAuthority, tmp_path: Path
    ) -> None:
        certificate, key = certificate_authority.issue("127.0.0.1")
        tls = ("--tls-cert", str(certificate), "--tls-key", str(key))
        async with served(tmp_path / "state", *tls) as plane:
            at = {"server": plane.url, "token_file": plane.token_file}
            without = await run("agents", **at)
            trusting = await run("agents", "--ca-file", certificate_authority.ca_file, **at)

        assert (without.code, trusting.code) == (4, 0)
        assert "--ca-file" in without.err


class TestToken:
    async def test_that_is_wrong_ends_with_2(self, plane: Served, tmp_path: Path) -> None:
        (tmp_path / "wrong").write_text("not-the-token-at-all")

        ran = await run("jobs", server=plane.url, token_file=tmp_path / "wrong")

        assert ran.code == 2
        assert "--api-token-file" in ran.err
