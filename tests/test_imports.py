"""No library of a cloud is in memory before a part that needs it is used."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.servers.seaweedfs import ADMIN, BUCKET, SeaweedFS, s3_client

LIBRARIES = {
    "aiohttp", "azure", "boto3", "botocore", "google", "grpc", "hvac", "kubernetes_asyncio",
    "msal", "obstore", "pytest", "requests", "urllib3", "zenml", "mlflow",
}  # fmt: skip
CONFIGURATION = """\
agent: {{state_dir: {directory}}}
secret_stores: {{env: {{type: env, prefix: T_}}}}
connectors:
  s3: {{type: aws, method: secret-key, endpoint_url: "{s3}", access_key_id: "secret://env/ID",
       secret_access_key: "secret://env/KEY"}}
artifact_stores:
  - {{name: bucket, uri: "s3://{bucket}/imports", connector: s3}}
policy:
  rules:
    - {{allow: [fetch-artifact], artifacts: ["s3://{bucket}/**"]}}
"""
FETCH = """
import asyncio, io, json, sys
from pathlib import Path
from agent.config.load import load
from agent.one_job import execute
content = io.BytesIO()
job = {"kind": "fetch-artifact", "parameters": {"uri": sys.argv[2]}}
settings = load(Path(sys.argv[1]), environ={}).settings
ended = asyncio.run(execute(settings, job, content))
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([ended["outcome"], content.getvalue().decode(), loaded]))
"""


def test_the_version_is_told_without_any() -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "agent", "version"]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True)

    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "agent.cli" in imported
    assert set() == LIBRARIES & {name.partition(".")[0] for name in imported}


def test_an_agent_for_s3_has_neither_google_nor_azure(tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    """It has fetched from S3, with a key: that takes obstore and nothing else of the list."""
    client = s3_client(seaweedfs.endpoint_url)
    client.put_object(Bucket=BUCKET, Key="imports/x", Body=b"bytes")
    client.close()
    text = CONFIGURATION.format(directory=tmp_path, s3=seaweedfs.endpoint_url, bucket=BUCKET)
    (tmp_path / "agent.yaml").write_text(text)
    key = {"T_ID": ADMIN.access_key_id, "T_KEY": ADMIN.secret_access_key.reveal()}

    argv = [sys.executable, "-c", FETCH, str(tmp_path / "agent.yaml"), f"s3://{BUCKET}/imports/x"]
    ran = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, **key}
    )

    assert ran.returncode == 0, ran.stderr
    outcome, content, loaded = json.loads(ran.stdout)
    assert ("succeeded", "bytes") == (outcome, content)
    assert {"obstore"} == LIBRARIES & set(loaded)
