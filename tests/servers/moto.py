"""A stand-in for AWS, moto, that enforces credentials: Secrets Manager, SSM, EKS, ECR, STS, IAM.

For S3 and sessions there is `seaweedfs`, which is stricter.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.secret import Secret
from tests.servers.processes import Server, free_port, spawn
from tests.servers.venvs import server_venv

REGION = "eu-west-1"
ACCOUNT = "123456789012"
_PROGRAM = Path(__file__).with_name("moto_mended.py")


@dataclass(frozen=True, slots=True)
class Key:
    """An access key of an IAM user."""

    access_key_id: str
    secret_access_key: Secret


class Moto:
    """One running server; `admin` may do everything. `stop` is idempotent."""

    region = REGION
    account = ACCOUNT
    admin = Key("of-nobody-yet", Secret("of-nobody-yet"))

    def __init__(self, server: Server, endpoint_url: str) -> None:
        self.server = server
        self.endpoint_url = endpoint_url

    def client(self, service: str) -> Any:
        """Return a boto3 client that speaks to *service* as the admin; the caller closes it."""
        import boto3

        connect: Any = boto3.client
        return connect(
            service,
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.admin.access_key_id,
            aws_secret_access_key=self.admin.secret_access_key.reveal(),
        )

    def make_user(self, name: str, *actions: str) -> Key:
        """Make an IAM user who may do *actions* to everything; return the user's key."""
        allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="it", PolicyDocument=policy)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        iam.close()
        return Key(made["AccessKeyId"], Secret(made["SecretAccessKey"]))

    def make_cluster(self, name: str) -> None:
        """Make an EKS cluster; moto gives it an address where nothing is."""
        eks = self.client("eks")
        role = f"arn:aws:iam::{self.account}:role/cluster"
        eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={})
        eks.close()

    def stop(self) -> None:
        """End the server."""
        self.server.stop()


def start_moto(directory: Path) -> Moto:
    """Start a server that keeps nothing on disk but its log; wait until it answers."""
    import requests

    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    python = server_venv("moto") / "bin" / "python"
    server = spawn(
        # Isolated: beside the program stands a moto.py, this file.
        [python, "-I", _PROGRAM, "-H", "127.0.0.1", "-p", str(port)],
        ready=port,
        log=directory / "moto.log",
    )
    moto = Moto(server, f"http://127.0.0.1:{port}")
    moto.admin = moto.make_user("admin", "*")
    # From now on every request has to be signed by somebody who may.
    requests.post(f"{moto.endpoint_url}/moto-api/reset-auth", data=b"0", timeout=10)
    return moto
