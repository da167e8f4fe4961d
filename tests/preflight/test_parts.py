"""What the check says about stores, connectors and the policy."""

import pytest

from agent.preflight.parts import part_rows, policy_rows
from agent.preflight.rows import Status
from tests.preflight.origin import settings


async def test_each_part_gets_its_row_and_one_failure_stops_no_other(tmp_path):
    """All are asked, and the broken one says why."""
    rows = await part_rows(
        settings(
            secret_stores={
                "here": {"type": "file", "root": tmp_path},
                "gone": {"type": "file", "root": tmp_path / "gone"},
            },
            artifact_stores=[{"name": "local", "uri": f"file://{tmp_path}"}],
        )
    )

    assert {
        "secret store here": Status.PASS,
        "secret store gone": Status.FAIL,
        "artifact store local": Status.PASS,
    } == {row.what: row.status for row in rows}


async def test_a_part_that_cannot_be_built_is_a_row():
    """As an artifact store of a kind that nobody has installed."""
    (row,) = await part_rows(settings(artifact_stores=[{"name": "x", "uri": "nosuch://bucket"}]))

    assert Status.FAIL == row.status
    assert "nosuch://" in row.found


async def test_a_server_that_nobody_verifies_is_warned_of(tmp_path):
    rows = await part_rows(
        settings(
            secret_stores={"files": {"type": "file", "root": tmp_path}},
            connectors={
                "cluster": {
                    "type": "kubernetes",
                    "method": "token",
                    "server": "https://127.0.0.1:9",
                    "token": "secret://files/token",
                    "insecure": True,
                }
            },
        )
    )

    (warned,) = [row for row in rows if row.status is Status.WARN]
    assert ("connector cluster", "name its CA in ca_file, and remove insecure: true") == (
        warned.what,
        warned.advice,
    )


async def test_a_wrapping_token_is_looked_at_and_left_for_the_daemon(vault):
    """Also by a connector whose secrets are behind it; one that was used already is a failure."""
    auth = vault.auth("approle-wrapped")
    configured = settings(
        secret_stores={
            "vault": {
                "type": "vault",
                "address": vault.server.address,
                "ca_file": vault.server.ca_file,
                "auth": auth,
            }
        },
        connectors={
            "cluster": {
                "type": "kubernetes",
                "method": "token",
                "server": "https://127.0.0.1:9",
                "token": "secret://vault/ml/cluster#token",
            }
        },
    )
    token = auth["secret_id_file"].read_text().strip()

    looked = await part_rows(configured)
    vault.admin.adapter.post("/v1/sys/wrapping/unwrap", json={"token": token})
    used = await part_rows(configured)

    kept = f"the wrapping token in {auth['secret_id_file']} is good, and kept for the daemon"
    assert [(Status.SKIP, kept)] * 2 == [(row.status, row.found) for row in looked]
    assert [Status.FAIL] * 2 == [row.status for row in used]


STORES = [{"name": "training", "uri": "s3://ml/prod", "connector": "ml"}]
ALLOW = {"allow": ["fetch-artifact"]}


@pytest.mark.parametrize(
    ("rules", "status", "found"),
    [
        ([], Status.WARN, "it allows nothing"),
        ([{"deny": "*"}], Status.WARN, "it allows nothing"),
        ([ALLOW], Status.PASS, "1 rules"),
        ([ALLOW | {"artifacts": ["s3://ml/prod/**"]}], Status.PASS, "1 rules"),
        ([ALLOW | {"artifacts": ["s3://ml/**"]}], Status.PASS, "1 rules"),
        ([ALLOW | {"artifacts": ["**/models/**"]}], Status.PASS, "1 rules"),
        ([ALLOW | {"artifacts": ["s3://mll/**"]}], Status.WARN, "policy.rules.0 matches no"),
        ([ALLOW | {"artifacts": ["s3://ml/prd/**"]}], Status.WARN, "configured artifact store"),
        ([ALLOW, {"deny": "*", "pipelines": ["train-*"]}], Status.WARN, "policy.rules.1"),
        ([ALLOW | {"pipelines": ["a/b"]}], Status.FAIL, "policy.rules[0].pipelines[0]"),
    ],
)
def test_a_policy_that_does_nothing_is_noticed(rules, status, found):
    """Denying all by mistake looks like a broken agent from the other end."""
    (row,) = policy_rows(settings(artifact_stores=STORES, policy={"rules": rules}))

    assert status == row.status
    assert found in row.found
