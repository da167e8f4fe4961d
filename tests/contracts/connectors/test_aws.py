"""What every connector promises, asked of each method against a real S3 and STS server."""

import asyncio
from contextlib import contextmanager

import pytest
from botocore.exceptions import ClientError

from agent.artifact_uri import ArtifactUri
from agent.artifacts.open import open_artifact_stores
from agent.config.artifact_stores import ArtifactStore
from agent.config.connectors import AwsConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.credentials import AwsCredentials
from agent.errors import AccessDenied, CredentialUnavailable
from agent.secrets.open import open_secret_stores
from agent.testing.connectors import Case, ConnectorContract
from tests.doubles.token_issuer import running_token_issuer
from tests.servers.seaweedfs import ROLE_ARN, SeaweedFS, s3_client, start_seaweedfs

KEY = {"access_key_id": "secret://env/ID", "secret_access_key": "secret://env/KEY"}
ROLE = {"role_arn": ROLE_ARN, "session_name": "contract", "duration": "15m"}
TOKEN = {"session_token": "secret://env/TOKEN"}
METHODS = {
    "secret-key": KEY,
    "sts-token": KEY | TOKEN,
    "iam-role": KEY | ROLE,
    "federation-token": KEY,
    "web-identity": ROLE,
    "implicit": {},
    "iam-role of the host": ROLE,
}
NARROWED = ["iam-role", "federation-token", "web-identity"]
LIST_ONLY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::artifacts"]}
    ],
}


@pytest.fixture(scope="module")
def issuer(certificate_authority):
    with running_token_issuer(certificate_authority) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory, issuer, certificate_authority):
    provider = {
        "issuer": issuer.address,
        "clientId": issuer.audience,
        "jwksUri": issuer.keys_url,
        "tlsCaCert": str(certificate_authority.ca_file),
    }
    server = start_seaweedfs(tmp_path_factory.mktemp("seaweedfs") / "it", provider=provider)
    client = s3_client(server.endpoint_url)
    for bucket, key in [("artifacts", "model"), ("artifacts", "b/model"), ("payroll", "model")]:
        client.put_object(Bucket=bucket, Key=key, Body=b"weights")
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
def token_file(tmp_path, issuer):
    file = tmp_path / "token"
    file.write_text(issuer.sign("agent") + "\n")
    return file


@pytest.fixture
async def connect(seaweedfs, secrets, monkeypatch, token_file):
    """Opens a connector for the whole bucket by its method, with a key in the environment."""
    _give_key(monkeypatch, seaweedfs.reader)
    opened = []

    def open_(method, *, reads=("s3://artifacts",), **options):
        given = {"region": seaweedfs.region, "endpoint_url": seaweedfs.endpoint_url}
        if method == "sts-token":
            _give_token(monkeypatch, seaweedfs)
        if method == "federation-token":  # the server issues it to its admin alone
            _give_key(monkeypatch, seaweedfs.admin)
        if method == "web-identity":
            given["web_identity_token_file"] = token_file
        given |= METHODS[method] | options
        aws = AwsConnector(type="aws", method=method.split(" ")[0], **given)
        readable = {"it": [ArtifactUri.parse(uri) for uri in reads]}
        opened.extend(open_connectors({"it": aws}, secrets, readable=readable).values())
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


async def _read(credentials: AwsCredentials, bucket="artifacts", key="model") -> bytes:
    """Read an object at the place that the credentials name."""

    def get() -> bytes:
        with _client(credentials) as s3, s3.get_object(Bucket=bucket, Key=key)["Body"] as body:
            return body.read()

    return await asyncio.to_thread(get)


async def _list(credentials: AwsCredentials, prefix: str) -> list[str]:
    """Return the keys of the bucket below *prefix*."""

    def ask() -> list[str]:
        with _client(credentials) as s3:
            answer = s3.list_objects_v2(Bucket="artifacts", Prefix=prefix)
        return [found["Key"] for found in answer.get("Contents", ())]

    return await asyncio.to_thread(ask)


@contextmanager
def _client(credentials: AwsCredentials):
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
        yield client
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


@pytest.mark.parametrize("method", NARROWED)
async def test_a_session_reads_the_artifact_stores_of_its_connector_and_nothing_else(
    connect, method
):
    """The key and the role behind it may read all of the bucket; the key of federation, all."""
    credentials = await connect(method, reads=["s3://artifacts/b"]).credentials()

    assert b"weights" == await _read(credentials, key="b/model")
    assert ["b/model"] == await _list(credentials, "b/")
    for bucket, key in [("artifacts", "model"), ("payroll", "model"), ("payroll", "b/model")]:
        with pytest.raises(ClientError, match="AccessDenied"):
            await _read(credentials, bucket, key)
    for prefix in ("", "model", "b"):
        with pytest.raises(ClientError, match="AccessDenied"):
            await _list(credentials, prefix)


async def test_a_narrowed_session_has_all_that_the_artifact_store_asks_for(connect):
    """Also the object that is called as the root of its store."""
    roots = ["s3://artifacts/b", "s3://artifacts/model"]
    connector = connect("iam-role", reads=roots)
    settings = [ArtifactStore(name=uri[-1:], uri=uri, connector="it") for uri in roots]
    stores = open_artifact_stores(settings, {"it": connector}, block_bytes=lambda: 65536)

    for uri in ("s3://artifacts/b/model", "s3://artifacts/model"):
        place = ArtifactUri.parse(uri)
        async with stores.find(place).open(place) as artifact:
            assert [b"weights"] == [block async for block in artifact.blocks()]
    page = await stores.find(settings[0].root).list(settings[0].root, page_size=9, page_token=None)
    assert ["s3://artifacts/b/model"] == [str(entry.uri) for entry in page.entries]
    assert "listed" in await stores.by_name("b").check()
    await stores.close()


async def test_a_role_without_artifact_stores_may_what_it_may(connect):
    credentials = await connect("iam-role", reads=[]).credentials()

    assert b"weights" == await _read(credentials)


@pytest.mark.parametrize("resource_type", ["aws-generic", "s3-bucket"])
async def test_a_resource_narrows_where_no_artifact_store_does(connect, resource_type):
    resource = {"resource_type": resource_type, "resource_id": "s3://artifacts/b"}
    credentials = await connect("iam-role", reads=[], **resource).credentials()

    assert b"weights" == await _read(credentials, key="b/model")
    with pytest.raises(ClientError, match="AccessDenied"):
        await _read(credentials)


async def test_a_web_identity_that_expired_is_unavailable_until_the_file_has_another(
    connect, token_file, issuer
):
    token_file.write_text(issuer.sign("agent", life=-1))
    connector = connect("web-identity")
    with pytest.raises(CredentialUnavailable) as failure:
        await connector.credentials()
    assert "AssumeRoleWithWebIdentity answered 400" in failure.value.detail

    token_file.write_text(issuer.sign("agent"))

    assert b"weights" == await _read(await connector.credentials())


async def test_a_token_of_another_issuer_is_unavailable(connect, token_file, certificate_authority):
    with running_token_issuer(certificate_authority) as other:
        token_file.write_text(other.sign("agent"))

    with pytest.raises(CredentialUnavailable):
        await connect("web-identity").credentials()
