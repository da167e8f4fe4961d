"""Secrets planted where they could leak, then searched for everywhere: rows 8 to 11."""

import re
import urllib.request
from pathlib import Path

import pytest

from demo.proof import traces
from demo.world import AGENT, ROOT
from tests.servers.openbao import ROOT_TOKEN
from tests.servers.seaweedfs import READER, SeaweedFS, s3_client
from tests.threats.fortress import BROKEN, BUCKET, PAYROLL_SECRET, WRONG_SECRET, Fortress

TOKEN_OF_OPENBAO = re.compile(rb"\b[sb]\.[A-Za-z0-9]{20,}")
PROOF_OF_IDENTITY = re.compile(rb"[Bb]earer ey|eyJ[A-Za-z0-9_-]{10,}\.")


def planted(fortress: Fortress) -> dict[str, str]:
    """Everything that must be seen nowhere; the frames keep the join token out by themselves."""
    return fortress.credentials | {
        "the refused key": WRONG_SECRET,
        "the payroll secret": PAYROLL_SECRET,
        "the vault's root token": ROOT_TOKEN,
        "the join token": (fortress.directory / "join-token").read_text().strip(),
    }


def leave_by_metadata(fortress: Fortress) -> None:
    """Objects of which the name, the type and the metadata hold a secret that the agent used."""
    secret = READER.secret_access_key.reveal()
    s3_client(fortress.s3.endpoint_url).put_object(
        Bucket=SeaweedFS.bucket,
        Key=f"prod/names/{secret}.bin",
        Body=b"x",
        ContentType=f"text/{secret}",
        Metadata={"note": secret},
    )
    fortress.submit("list-artifacts", uri=f"{ROOT}/names")
    fortress.submit("fetch-artifact", uri=fortress.put("plain", b"plain"))
    # The control plane can't know the name; whoever works with the store tells it another way.
    named = s3_client(fortress.s3.endpoint_url)
    named.copy_object(
        Bucket=SeaweedFS.bucket,
        Key="prod/typed",
        CopySource=f"{SeaweedFS.bucket}/prod/names/{secret}.bin",
    )
    assert "succeeded" == fortress.submit("fetch-artifact", uri=f"{ROOT}/typed")["state"]


def leave_by_errors(fortress: Fortress) -> None:
    """S3 quotes the key that it refuses, Vault the path; both end in an error of a job."""
    for name in BROKEN:
        assert "failed" == fortress.submit("fetch-artifact", uri=f"{BUCKET}/{name}/x")["state"]
        assert "failed" == fortress.submit("check-connector", connector=name)["state"]
    fortress.submit("check-connector", connector="ml-s3")


def leave_by_pipelines(fortress: Fortress) -> None:
    """A pipeline prints its whole environment; the result is followed and read again."""
    job = fortress.submit("trigger-pipeline", pipeline="train-talkative", wait=True)
    assert "succeeded" == job["state"]
    log = fortress.cli("submit", "pipeline-logs", "--agent", AGENT, "-p", f"run={job['id']}",
                       "--follow").stdout  # fmt: skip
    assert "environment TRACKING_TOKEN ***" in log


def answers(fortress: Fortress) -> bytes:
    """Everything that the control plane's and the agent's HTTP servers tell."""
    told = [fortress.agent_metrics(), str(fortress.rest("/agents"))]
    for job in fortress.rest("/jobs?limit=1000")["jobs"]:
        told += [str(job), str(fortress.rest(f"/jobs/{job['id']}"))]
    with urllib.request.urlopen(f"{fortress.url}/metrics") as metrics:
        told.append(metrics.read().decode())
    return "\n".join(told).encode()


@pytest.fixture(scope="module")
def places(fortress: Fortress) -> list[Path]:
    """Where a secret could have been left, after everything was tried with the noisiest log."""
    fortress.restart_agent(telemetry={"log": {"level": "debug"}})
    leave_by_errors(fortress)
    leave_by_metadata(fortress)
    leave_by_pipelines(fortress)
    (fortress.directory / "answers").write_bytes(answers(fortress))
    names = ("agent.log", "control-plane.log", "frames.bin", "answers")
    states = (fortress.agent_state, fortress.plane_state)
    kept = [path for state in states for path in state.rglob("*") if path.is_file()]
    return [*(fortress.directory / name for name in names), *kept]


def test_no_secret_is_left_anywhere_in_any_form(fortress, places):
    assert {"agent.log", "audit.jsonl", "journal.db", "frames.bin"} <= {p.name for p in places}
    assert [] == traces(planted(fortress), places)


def test_the_search_would_find_one(fortress, tmp_path):
    for name, value in planted(fortress).items():
        (tmp_path / "log").write_text(f"said {value!r}")
        assert traces({name: value}, [tmp_path / "log"])


def test_no_token_that_the_vault_issued_is_left(fortress, places):
    assert [] == [str(path) for path in places if TOKEN_OF_OPENBAO.search(path.read_bytes())]


def test_no_proof_of_identity_is_left(fortress, places):
    assert [] == [str(path) for path in places if PROOF_OF_IDENTITY.search(path.read_bytes())]


def test_the_private_key_stays_in_its_file(fortress, places):
    keys = [path for path in places if b"PRIVATE KEY" in path.read_bytes()]

    assert 1 == len(keys)
    assert 0o600 == keys[0].stat().st_mode & 0o777
    body = max(keys[0].read_bytes().splitlines(), key=len)
    assert [keys[0]] == [path for path in places if body in path.read_bytes()]


def test_errors_name_the_connector_in_the_log_of_the_customer(fortress, places):
    """The customer is told what the cloud is not."""
    log = fortress.log_bytes()

    for told in (b"wrong-key", b"ml/no-secret", b"payroll/vault-refuses"):
        assert told in log


def test_libraries_say_nothing_below_a_warning(fortress, places):
    """Debug logs of websockets, urllib3 and botocore quote tokens and signatures."""
    log = fortress.log_bytes()

    assert b'"level":"debug","event":"library.logged"' not in log
    assert b'"level":"info","event":"library.logged"' not in log
    assert b"Authorization" not in log
