"""What every connector promises, asked of each method against a real S3 and STS server."""

import asyncio

import pytest
from botocore.exceptions import ClientError

from agent.config.connectors import AwsConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.credentials import AwsCredentials
from agent.errors import AccessDenied, CredentialUnavailable
from agent.secrets.open import open_secret_stores
from agent.testing.connectors import Case, ConnectorContract
from tests.servers.seaweedfs import ROLE_ARN, SeaweedFS, s3_client, start_seaweedfs

KEY = {"access_key_id": "secret://env/ID", "secret_access_key": "secret://env/KEY"}
ROLE = {"role_arn": ROLE_ARN, "session_name": "contract", "duration": "15m"}
TOKEN = {"session_token": "secret://env/TOKEN"}
METHODS = {
    "secret-key": KEY,
    "sts-token": KEY | TOKEN,
    "iam-role": KEY | ROLE,
    "implicit": {},
    "iam-role of the host": ROLE,
}
LIST_ONLY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::artifacts"]}
    ],
}


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory):
    server = start_seaweedfs(tmp_path_factory.mktemp("seaweedfs") / "it")
    client = s3_client(server.endpoint_url)
    client.put_object(Bucket=server.bucket, Key="model", Body=b"weights")
    client.close()
    yield server
    server.stop()


@pytest.fixture
def secrets():
    seen = []
    resolver = open_secret_stores(
        {"env": EnvSecretStore(type="env", prefix="T_")}, on_secret=seen.append
    )
    resolver.seen = seen
    return resolver


@pytest.fixture
async def connect(seaweedfs, secrets, monkeypatch):
    """Opens a connector by its method, with the key of a reader in the environment."""
    _give_key(monkeypatch, seaweedfs.reader)
    opened = []

    def open_(method, **options):
        if method == "sts-token":
            _give_token(monkeypatch, seaweedfs)
        given = {"region": seaweedfs.region, "endpoint_url": seaweedfs.endpoint_url}
        given |= METHODS[method] | options
        aws = AwsConnector(type="aws", method=method.split(" ")[0], **given)
        opened.extend(open_connectors({"it": aws}, secrets).values())
        return opened[-1]

    yield open_
    for connector in opened:
        await connector.close()
    await secrets.close()


def _give_key(monkeypatch, key) -> None:
    for names in (("T_ID", "T_KEY"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")):
        monkeypatch.setenv(names[0], key.access_key_id)
        monkeypatch.setenv(names[1], key.secret_access_key.reveal())
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


def _give_token(monkeypatch, server: SeaweedFS) -> None:
    import boto3

    sts = boto3.client("sts", endpoint_url=server.endpoint_url, region_name=server.region)
    issued = sts.assume_role(RoleArn=ROLE_ARN, RoleSessionName="given")["Credentials"]
    sts.close()
    monkeypatch.setenv("T_ID", issued["AccessKeyId"])
    monkeypatch.setenv("T_KEY", issued["SecretAccessKey"])
    monkeypatch.setenv("T_TOKEN", issued["SessionToken"])


async def _read(credentials: AwsCredentials) -> bytes:
    """Read the object at the place that the credentials name."""
    return await asyncio.to_thread(_get, credentials)


def _get(credentials: AwsCredentials) -> bytes:
    import boto3

    token = credentials.session_token
    client = boto3.client(
        "s3",
        endpoint_url=credentials.endpoint_url,
        region_name=credentials.region,
        aws_access_key_id=credentials.access_key_id.reveal(),
        aws_secret_access_key=credentials.secret_access_key.reveal(),
        aws_session_token=token.reveal() if token else None,
    )
    try:
        with client.get_object(Bucket="artifacts", Key="model")["Body"] as body:
            return body.read()
    finally:
        client.close()


class TestAws(ConnectorContract):
    """Each method, against a real S3 and STS server."""

    @pytest.fixture(params=METHODS)
    def case(self, request, connect, secrets):
        return Case(connect(request.param), _read, secrets.seen, "arn:aws:")


@pytest.mark.parametrize("method", ["secret-key", "implicit"])
async def test_a_rotated_key_is_used_after_the_refusal(connect, method, monkeypatch, seaweedfs):
    connector = connect(method)
    monkeypatch.setenv("T_KEY", "not-valid-any-more")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-valid-any-more")
    refused = await connector.credentials()
    with pytest.raises(ClientError):
        await _read(refused)

    _give_key(monkeypatch, seaweedfs.reader)
    connector.invalidate(refused)

    assert b"weights" == await _read(await connector.credentials())


async def test_a_session_policy_narrows_the_role(connect):
    credentials = await connect("iam-role", session_policy=LIST_ONLY).credentials()

    with pytest.raises(ClientError, match="AccessDenied"):
        await _read(credentials)


async def test_a_wrong_key_is_refused_by_name(connect, monkeypatch):
    monkeypatch.setenv("T_KEY", "not-the-right-one")

    with pytest.raises(AccessDenied):
        await connect("secret-key").identity()
    with pytest.raises(CredentialUnavailable) as failure:
        await connect("iam-role").credentials()
    assert "AssumeRole answered" in failure.value.detail


async def test_a_role_that_does_not_exist_is_unavailable(connect):
    with pytest.raises(CredentialUnavailable):
        await connect("iam-role", role_arn="arn:aws:iam::role/Missing").credentials()
