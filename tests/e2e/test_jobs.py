"""Every kind of job, from the cloud's REST interface to the customer's servers and back."""

import hashlib
import secrets
import subprocess
import urllib.request

import pytest

from demo.world import AGENT, ROOT, World


def submit(world: World, kind: str, **parameters):
    job = world.rest("/jobs", {"agent": AGENT, "kind": kind, "parameters": parameters})["id"]
    return world.ended(job)


def content(world: World, job: str) -> bytes:
    request = urllib.request.Request(
        f"{world.url}/api/v1/jobs/{job}/content",
        headers={"Authorization": f"Bearer {world.api_token}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def test_a_fetched_artifact_is_the_object(world):
    expected = secrets.token_bytes(5_000_000)
    uri = world.put("whole.bin", expected)

    job = submit(world, "fetch-artifact", uri=uri)

    assert "succeeded" == job["state"]
    assert expected == content(world, job["id"])
    assert hashlib.sha256(expected).hexdigest() == job["result"]["sha256"]
    assert {"size": 5_000_000, "store": "training"}.items() <= job["result"].items()


def test_a_range_includes_both_its_ends(world):
    uri = world.put("range.bin", bytes(range(256)))

    job = submit(world, "fetch-artifact", uri=uri, range=[10, 19])

    assert bytes(range(10, 20)) == content(world, job["id"])


def test_an_empty_artifact_is_an_artifact(world):
    job = submit(world, "fetch-artifact", uri=world.put("empty.bin", b""))

    assert ("succeeded", b"") == (job["state"], content(world, job["id"]))


@pytest.mark.parametrize(
    ("parameters", "state", "reason"),
    [
        ({"uri": f"{ROOT}/missing"}, "failed", "not_found"),
        ({"uri": f"{ROOT}/whole.bin", "max_bytes": 3}, "failed", "too_large"),
        ({"uri": f"{ROOT}/pii/a.csv"}, "refused", "policy_denied"),
        ({"uri": "s3://payroll/salaries"}, "refused", "policy_denied"),
        ({"uri": "s3://artifacts/production/x"}, "refused", "policy_denied"),
        ({"uri": f"{ROOT}/../payroll/x"}, "refused", "bad_parameters"),
        ({"uri": f"{ROOT}/a", "endpoint": "http://x"}, "refused", "bad_parameters"),
        ({"uri": f"{ROOT}/a", "range": [5, 1]}, "refused", "bad_parameters"),
        ({"mlflow_run": "r", "path": "p"}, "refused", "unsupported"),
        ({}, "refused", "bad_parameters"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_fetch_ends_with_its_reason(world, parameters, state, reason):
    world.put("whole.bin", b"12345")

    job = submit(world, "fetch-artifact", **parameters)

    assert (state, reason) == (job["state"], job["reason"])


def test_an_unknown_kind_is_unsupported(world):
    job = submit(world, "format-disk")

    assert ("refused", "unsupported") == (job["state"], job["reason"])


def test_a_listing_leaves_out_what_the_policy_denies(world):
    for key in ("list/a.bin", "list/sub/b.bin", "list/pii/c.csv"):
        world.put(key, b"x")

    job = submit(world, "list-artifacts", uri=f"{ROOT}/list")

    listed = {entry["uri"]: entry["kind"] for entry in job["result"]["entries"]}
    assert {f"{ROOT}/list/a.bin": "file", f"{ROOT}/list/sub": "directory"} == listed


def test_a_pipeline_runs_once_and_its_secret_is_blacked_out(world):
    job = submit(
        world, "trigger-pipeline", pipeline="train-churn", parameters={"epochs": 2}, wait=True
    )

    assert ("succeeded", 0) == (job["state"], job["result"]["exit_code"])
    log = world.cli("submit", "pipeline-logs", "--agent", AGENT, "-p",
                    f"run={job['result']['run']}", "--follow").stdout  # fmt: skip
    assert "tracking token: ***" in log
    assert "epoch 2 of 2" in log
    assert world.tracking_token not in log


def test_a_pipelines_parameters_have_to_fit_their_schema(world):
    job = submit(world, "trigger-pipeline", pipeline="train-churn", parameters={"epochs": 99})

    assert ("failed", "bad_parameters") == (job["state"], job["reason"])


def test_a_run_can_be_asked_after_and_stopped(world):
    run = submit(world, "trigger-pipeline", pipeline="train-churn", parameters={"epochs": 50})
    name = run["result"]["run"]

    assert "running" == submit(world, "pipeline-status", run=name)["result"]["state"]
    assert "stopped" == submit(world, "stop-pipeline", run=name)["result"]["state"]
    assert "stopped" == submit(world, "pipeline-status", run=name)["result"]["state"]


def test_cancelling_a_job_stops_its_pipeline(world):
    job = world.rest("/jobs", {
        "agent": AGENT, "kind": "trigger-pipeline",
        "parameters": {"pipeline": "train-churn", "parameters": {"epochs": 50}, "wait": True},
    })["id"]  # fmt: skip
    world.until(lambda: world.rest(f"/jobs/{job}")["state"] == "running")

    world.rest(f"/jobs/{job}/cancel", {})

    assert "cancelled" == world.ended(job)["state"]
    assert "stopped" == submit(world, "pipeline-status", run=job)["result"]["state"]


def test_a_deadline_reaches_the_pipeline(world):
    job = world.rest("/jobs", {
        "agent": AGENT, "kind": "trigger-pipeline", "deadline_s": 1.0,
        "parameters": {"pipeline": "train-churn", "parameters": {"epochs": 50}, "wait": True},
    })["id"]  # fmt: skip

    ended = world.ended(job)

    assert ("timed_out", "deadline") == (ended["state"], ended["reason"])
    assert "stopped" == submit(world, "pipeline-status", run=job)["result"]["state"]


def test_a_checked_connector_names_who_it_is_and_no_secret(world):
    job = submit(world, "check-connector", connector="ml-s3")

    assert job["result"]["ok"] is True
    assert not any(value in str(job) for value in world.credentials.values())


def test_the_command_line_writes_the_content_and_tells_a_refusal(world, tmp_path):
    uri = world.put("cli.bin", b"by command line")

    world.cli("submit", "fetch-artifact", "--agent", AGENT, "-p", f"uri={uri}",
              "-o", str(tmp_path / "got"))  # fmt: skip
    denied = world.cli("submit", "fetch-artifact", "--agent", AGENT,
                       "-p", "uri=s3://payroll/x", check=False)  # fmt: skip

    assert b"by command line" == (tmp_path / "got").read_bytes()
    assert 3 == denied.returncode


def test_metrics_and_audit_tell_what_was_done(world):
    submit(world, "fetch-artifact", uri=world.put("told.bin", b"abc"))

    metrics = world.agent_metrics()

    assert 'cloud_agent_jobs_total{kind="fetch-artifact",outcome="succeeded",reason=""}' in metrics
    assert "cloud_agent_link_up 1.0" in metrics
    audit = (world.agent_state / "audit.jsonl").read_text()
    for event in ("job.decided", "credential.used", "job.ended"):
        assert f'"event":"{event}"' in audit
    assert 0 == subprocess.run(world.agent_command("audit", "verify")).returncode
