"""A control plane that wants more than it may have: rows 1, 4, 5, 12 and 38 of the threat model."""

import os
import re

import pytest

from demo.world import AGENT, ROOT
from tests.servers.seaweedfs import SeaweedFS
from tests.threats.fortress import BROKEN, BUCKET, Fortress

LITERAL = (
    "%2e%2e/hidden/there",
    "a%2F..%2F..%2Fhidden%2Fthere",
    "..%5chidden",
    "x?versionId=1",
    "x#f",
)
MEANS = {
    "endpoint_url": "http://169.254.169.254/",
    "credentials": {"access_key_id": "a", "secret_access_key": "b"},
    "connector": "ml-s3",
    "command": ["/bin/sh", "-c", "id"],
    "environment": {"LD_PRELOAD": "/tmp/x.so"},
    "image": "evil:latest",
    "policy": {"rules": [{"allow": "*"}]},
}
KINDS = ("os:system", "builtins.eval", "agent.jobs.kinds:KINDS", "__import__('os')", "../../bin/sh",
         "fetch-artifact\n", "FETCH-ARTIFACT", "*", "visualize-artifact")  # fmt: skip
OUTSIDE = (
    f"{BUCKET}/production/x",
    f"{BUCKET}/prod-other/x",
    f"{BUCKET}/prod/../hidden/x",
    f"{BUCKET}/prod//x",
    f"{BUCKET}/hidden/x",
    f"s3://{SeaweedFS.other_bucket}/salaries",
    "S3://ARTIFACTS/prod/x",
    f"s3://key:secret@{SeaweedFS.bucket}/prod/x",
    f"{ROOT}/x\x00",
    f"{ROOT}/pii/x",
    "http://169.254.169.254/latest/meta-data/",
    "https://example.com/x",
    "file:///etc/passwd",
    "file:///proc/self/environ",
    "file://localhost/etc/passwd",
    "gs://artifacts/prod/x",
    "x" * 10_000,
)


def hostile_jobs(fortress: Fortress) -> list[tuple[str, dict]]:
    files = fortress.files.as_uri()
    uri = f"{ROOT}/a"
    return [
        *((kind, {"uri": uri}) for kind in KINDS),
        *(("fetch-artifact", {"uri": uri, name: value}) for name, value in MEANS.items()),
        *(("trigger-pipeline", {"pipeline": "train-talkative", name: value})
          for name, value in MEANS.items()),
        *(("fetch-artifact", {"uri": uri}) for uri in OUTSIDE),
        *(("list-artifacts", {"uri": uri}) for uri in OUTSIDE),
        *(("fetch-artifact", {"uri": f"{files}{more}"})
          for more in ("-evil/x", "/../agent.yaml")),
        *(("trigger-pipeline", {"pipeline": name})
          for name in ("payroll", "os:system", "../train-talkative", "*", "train", "")),
        *(("check-connector", {"connector": name}) for name in ("payroll", "*", "")),
        ("check-connector", {"artifact_store": "hidden"}),
        ("fetch-artifact", {"uri": uri, "max_bytes": -1}),
        ("fetch-artifact", {"uri": uri, "range": [0, 2**63]}),
        ("fetch-artifact", {"uri": ["s3://artifacts/prod/a"]}),
    ]  # fmt: skip


def logins(fortress: Fortress) -> set[str]:
    """What the vault itself knows of: every login leaves an accessor."""
    return set(fortress.vault.client().auth.token.list_accessors()["data"]["keys"])


def resolutions(fortress: Fortress) -> list[str]:
    lines = fortress.agent_metrics().splitlines()
    return [line for line in lines if line.startswith("cloud_agent_credential_resolutions_total{")]


@pytest.mark.timeout(60)
def test_no_refused_job_touches_a_secret(fortress):
    """The vault saw no login, nothing was resolved, and the audit log shows no use."""
    fortress.restart_agent()
    before = logins(fortress)

    jobs = [
        fortress.rest("/jobs", {"agent": AGENT, "kind": kind, "parameters": parameters})["id"]
        for kind, parameters in hostile_jobs(fortress)
    ]
    ended = [fortress.ended(job) for job in jobs]

    accepted = [(job["kind"], job["parameters"]) for job in ended if job["state"] != "refused"]
    assert [] == accepted
    assert {"policy_denied", "bad_parameters", "unsupported"} == {job["reason"] for job in ended}
    assert before == logins(fortress)
    assert [] == resolutions(fortress)
    used = {line["job"] for line in fortress.audited("credential.used")}
    assert not used & set(jobs)


def test_an_allowed_job_does_touch_a_secret(fortress):
    """Or else the proof above would prove nothing."""
    fortress.restart_agent()
    before = logins(fortress)

    job = fortress.submit("fetch-artifact", uri=fortress.put("allowed", b"x"))

    assert "succeeded" == job["state"]
    assert before < logins(fortress)
    assert resolutions(fortress)
    assert job["id"] in {line["job"] for line in fortress.audited("credential.used")}


def test_parameters_of_a_pipeline_are_no_shell(fortress, tmp_path):
    made = tmp_path / "made"
    note = f"$(touch {made}); `touch {made}` | touch {made} & \n touch {made} '\" {{epochs}} %s"

    job = fortress.submit(
        "trigger-pipeline", pipeline="train-talkative", parameters={"note": note}, wait=True
    )

    assert "succeeded" == job["state"]
    shown = fortress.cli("submit", "pipeline-logs", "--agent", AGENT, "-p", f"run={job['id']}",
                         "--follow").stdout  # fmt: skip
    assert f"arguments {[note]!r}" in shown
    assert not made.exists()


@pytest.mark.parametrize(
    "parameters",
    [
        {"note": "--option"},
        {"note": ["a", "b"]},
        {"note": {"a": 1}},
        {"note": "a\x00b"},
        {"other": "x"},
        {"PATH": "/tmp"},
    ],
    ids=str,
)
def test_odd_parameters_of_a_pipeline_start_nothing(fortress, parameters):
    job = fortress.submit("trigger-pipeline", pipeline="train-talkative", parameters=parameters)

    assert ("failed", "bad_parameters") == (job["state"], job["reason"])
    assert 0 == fortress.runs_of(job["id"])


@pytest.mark.parametrize("name", LITERAL)
def test_what_looks_like_climbing_is_a_name(fortress, name):
    """Nothing is decoded: there is no second meaning that the policy did not see."""
    fortress.put_beside(SeaweedFS.bucket, "hidden/there")

    for root in (ROOT, fortress.files.as_uri()):
        job = fortress.submit("fetch-artifact", uri=f"{root}/{name}")
        assert ("failed", "not_found") == (job["state"], job["reason"])


def test_links_and_devices_lead_nowhere(fortress):
    (fortress.files / "link").symlink_to("/etc/passwd")
    (fortress.files / "up").symlink_to("..")
    (fortress.files / "null").symlink_to("/dev/null")
    os.mkfifo(fortress.files / "pipe")
    root = fortress.files.as_uri()

    jobs = [fortress.submit("fetch-artifact", uri=f"{root}/{name}")
            for name in ("link", "up/agent.yaml", "null", "pipe", "missing")]  # fmt: skip

    told = {(job["state"], job["reason"], job["message"]) for job in jobs}
    assert 1 == len(told)
    assert "not_found" == told.pop()[1]


def told(job: dict) -> tuple:
    return job["state"], job["reason"], job["message"], job["result"], job["trailer"]


@pytest.mark.parametrize("kind", ["fetch-artifact", "list-artifacts"])
def test_what_lies_outside_the_policy_looks_the_same_whether_or_not_it_exists(fortress, kind):
    there = fortress.put_beside(SeaweedFS.bucket, "hidden/there")
    payroll = fortress.put_beside(SeaweedFS.other_bucket, "salaries")
    denied = fortress.put("pii/there", b"x")
    (fortress.directory / "outside").write_text("x")
    uris = [
        there, f"{BUCKET}/hidden/missing", payroll, f"{payroll}-missing", "s3://no-such-bucket/x",
        denied, f"{ROOT}/pii/missing", "file:///etc/passwd", "file:///etc/missing",
        (fortress.directory / "outside").as_uri(),
    ]  # fmt: skip

    answers = {told(fortress.submit(kind, uri=uri)) for uri in uris}

    assert 1 == len(answers)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("trigger-pipeline", {"pipeline": "payroll"}, {"pipeline": "missing"}),
        ("check-connector", {"artifact_store": "hidden"}, {"artifact_store": "missing"}),
    ],
)
def test_names_outside_the_policy_look_the_same_whether_or_not_they_exist(
    fortress, kind, one, other
):
    assert told(fortress.submit(kind, **one)) == told(fortress.submit(kind, **other))


def test_messages_for_the_cloud_name_no_host_path_or_arn(fortress):
    jobs = [fortress.submit("fetch-artifact", uri=f"{BUCKET}/{name}/x") for name in BROKEN]
    jobs += [fortress.submit("check-connector", connector=name) for name in BROKEN]
    jobs += [fortress.submit("check-connector", artifact_store="no-secret")]
    jobs += [fortress.submit("fetch-artifact", uri=f"{fortress.files.as_uri()}/missing")]

    expected = {"access_denied", "credential_unavailable", "store_unavailable", "not_found"}
    assert expected == {job["reason"] for job in jobs}
    for job in jobs:
        assert not re.search(r"127\.0\.0\.1|localhost|://|arn:|\w/\w|/tmp", job["message"])
        assert not job["result"]


def test_hostile_names_make_no_series(fortress):
    """Metrics have the same series before and after strange kinds, URIs, runs and connectors."""

    def attack(number: int) -> None:
        for kind, parameters in (
            (f"kind-{number}", {}),
            ("fetch-artifact", {"uri": f"{ROOT}/missing-{number}"}),
            ("fetch-artifact", {"uri": f"s3://bucket-{number}/x"}),
            ("check-connector", {"connector": f"connector-{number}"}),
            ("trigger-pipeline", {"pipeline": f"train-{number}"}),
            ("pipeline-status", {"run": f"run-{number}"}),
        ):
            fortress.submit(kind, **parameters)

    attack(0)
    before = series(fortress)
    for number in range(1, 6):
        attack(number)

    assert before == series(fortress)


def series(fortress: Fortress) -> set[str]:
    lines = fortress.agent_metrics().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}
