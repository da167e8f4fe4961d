"""An artifact version by its id, from a real server's answer to the bytes in a real bucket."""

import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agent.config.load import load
from agent.one_job import execute
from tests.servers.seaweedfs import ADMIN, BUCKET, SeaweedFS, s3_client
from tests.servers.zenml import Zenml

CONFIGURATION = """\
agent: {{state_dir: {directory}}}
secret_stores: {{env: {{type: env, prefix: T_}}}}
connectors:
  prod: {{type: zenml, endpoint_url: "{zenml}", api_key: "secret://env/ZENML"}}
  s3: {{type: aws, method: secret-key, endpoint_url: "{s3}", access_key_id: "secret://env/ID",
       secret_access_key: "secret://env/KEY"}}
artifact_stores:
  - {{name: prod, uri: "zenml://prod", connector: prod}}
  - {{name: bucket, uri: "s3://{bucket}/zenml", connector: s3}}
policy:
  rules:
    - {{allow: [fetch-artifact, list-artifacts], artifacts: ["zenml://prod/**"]}}
    - {{allow: [fetch-artifact, list-artifacts], artifacts: ["s3://{bucket}/zenml/**"]}}
    - {{deny: "*", artifacts: ["**/make_report/**"]}}
"""

Run = Callable[..., Awaitable[tuple[dict[str, Any], bytes]]]


@pytest.fixture
def run(zenml: Zenml, seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a job through the policy, the server and the bucket; returns outcome and content."""
    monkeypatch.setenv("T_ZENML", zenml.api_key.reveal())
    monkeypatch.setenv("T_ID", ADMIN.access_key_id)
    monkeypatch.setenv("T_KEY", ADMIN.secret_access_key.reveal())
    text = CONFIGURATION.format(
        directory=tmp_path, zenml=zenml.url, s3=seaweedfs.endpoint_url, bucket=BUCKET
    )
    (tmp_path / "agent.yaml").write_text(text)
    settings = load(tmp_path / "agent.yaml", environ={}).settings

    async def run_(kind: str, **parameters: str) -> tuple[dict[str, Any], bytes]:
        content = io.BytesIO()
        ended = await execute(settings, {"kind": kind, "parameters": parameters}, content)
        return ended, content.getvalue()

    return run_


def in_bucket(zenml: Zenml, seaweedfs: SeaweedFS, name: str, file: str) -> bytes:
    """The bytes of a file of a version, read with the bucket's own key."""
    version = zenml.session().get(f"{zenml.url}/api/v1/artifact_versions/{zenml.versions[name]}")
    place = urlsplit(version.json()["body"]["uri"])
    client = s3_client(seaweedfs.endpoint_url)
    found = client.get_object(Bucket=place.netloc, Key=f"{place.path[1:]}/{file}")["Body"].read()
    client.close()
    return found


async def test_a_version_with_one_file_needs_no_path(run: Run, zenml, seaweedfs) -> None:
    version = zenml.versions["story::make_metrics::output"]

    ended, content = await run("fetch-artifact", zenml_artifact_version=version)

    assert "succeeded" == ended["outcome"], ended
    assert {"accuracy": 0.97} == json.loads(content)
    assert "bucket" == ended["result"]["store"]


async def test_stored_previews_are_not_the_artifact(run: Run, zenml, seaweedfs) -> None:
    """A frame is stored with two tables that describe it; the artifact is the frame."""
    name = "story::make_frame::output"

    ended, content = await run("fetch-artifact", zenml_artifact_version=zenml.versions[name])

    assert "succeeded" == ended["outcome"], ended
    assert in_bucket(zenml, seaweedfs, name, "df.parquet.gzip") == content


async def test_a_path_leads_below_the_version(run: Run, zenml, seaweedfs) -> None:
    name = "story::make_frame::output"

    _, content = await run(
        "fetch-artifact", zenml_artifact_version=zenml.versions[name], path="sample.csv"
    )

    assert in_bucket(zenml, seaweedfs, name, "sample.csv") == content


async def test_a_version_is_listed_with_where_it_is(run: Run, zenml) -> None:
    version = zenml.versions["story::make_frame::output"]

    ended, _ = await run("list-artifacts", uri=f"zenml://prod/{version}")

    names = [entry["uri"].rsplit("/", 1)[1] for entry in ended["result"]["entries"]]
    assert ["describe.csv", "df.parquet.gzip", "sample.csv"] == names


async def test_the_policy_holds_where_the_bytes_are(run: Run, zenml) -> None:
    """The id is allowed, the place is not."""
    version = zenml.versions["story::make_report::output"]

    ended, content = await run("fetch-artifact", zenml_artifact_version=version)

    assert ("failed", "policy_denied", b"") == (ended["outcome"], ended["reason"], content)


@pytest.mark.parametrize(
    "place",
    [f"s3://{BUCKET}/zenml-evil/x", "s3://payroll/x", f"s3://{BUCKET}/zenml/../secret", "/etc"],
)
async def test_who_may_write_to_the_server_leads_nowhere_else(run: Run, zenml, place) -> None:
    """ZenML itself takes any place that begins with the letters of its store's root."""
    with zenml.session() as session:
        name = f"rogue-{abs(hash(place))}"
        known = zenml.versions["story::make_metrics::output"]
        body = session.get(f"{zenml.url}/api/v1/artifact_versions/{known}").json()["body"]
        artifact = session.post(f"{zenml.url}/api/v1/artifacts", json={
            "name": name, "has_custom_name": True, "project": zenml.project,
        }).json()  # fmt: skip
        made = session.post(f"{zenml.url}/api/v1/artifact_versions", json={
            "artifact_id": artifact["id"], "version": "1", "type": "DataArtifact", "uri": place,
            "materializer": body["materializer"], "data_type": body["data_type"],
            "artifact_store_id": body["artifact_store_id"], "save_type": "manual",
            "project": zenml.project, "has_custom_name": True,
        })  # fmt: skip
        assert made.ok, made.text

    ended, content = await run("fetch-artifact", zenml_artifact_version=made.json()["id"])

    assert "failed" == ended["outcome"]
    assert ended["reason"] in ("policy_denied", "unsupported")
    assert b"" == content


async def test_an_unknown_version_is_not_found(run: Run) -> None:
    ended, _ = await run(
        "fetch-artifact", zenml_artifact_version="00000000-0000-4000-8000-000000000001"
    )

    assert ("failed", "not_found") == (ended["outcome"], ended["reason"])
