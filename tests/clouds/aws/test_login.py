"""What the AWS connector does with rotated, refused and missing keys, and what it loads."""

import asyncio
import subprocess
import sys
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from agent.config.connectors import AwsConnector
from agent.connectors.open import open_connectors
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable
from agent.secrets.resolver import OpenStore, SecretResolver
from tests.doubles.secret_stores import MemorySecretStore
from tests.doubles.sts import running_sts
from tests.servers.processes import free_port

KEY = {
    "access_key_id": "secret://memory/ml/s3#id",
    "secret_access_key": "secret://memory/ml/s3#secret",
}


@pytest.fixture
def sts():
    with running_sts() as sts:
        yield sts


@pytest.fixture
def store():
    return MemorySecretStore({"ml/s3": {"id": "TESTKEY", "secret": "stored", "token": "given"}})


@pytest.fixture
def seen():
    return []


@pytest.fixture
async def connect(store, seen, sts):
    """Opens one connector with the method and settings that are given."""
    stores = {"memory": OpenStore(store, "env", 300.0)}
    secrets = SecretResolver(stores, on_secret=seen.append, on_use=lambda _: None)
    opened = []

    def open_(method, **options):
        given = {"endpoint_url": sts.endpoint_url, **KEY, **options}
        aws = AwsConnector(type="aws", method=method, **given)
        opened.extend(open_connectors({"ml": aws}, secrets).values())
        return opened[-1]

    yield open_
    for connector in opened:
        await connector.close()
    await secrets.close()


async def test_a_session_token_is_issued_once_for_many(connect, sts, seen):
    connector = connect("session-token", duration="30m")

    first, *others = await asyncio.gather(*(connector.credentials() for _ in range(50)))

    assert "issued-token-1" == first.session_token.reveal()
    assert [first] * 49 == others
    (request,) = sts.requests
    assert ("GetSessionToken", "1800") == (request["Action"], request["DurationSeconds"])
    assert {"ISSUED1", "issued-secret-1", "issued-token-1"} <= {s.reveal() for s in seen}


async def test_a_short_token_is_issued_again_before_its_end(connect, sts):
    sts.life = timedelta(seconds=1)
    connector = connect("session-token")
    first = await connector.credentials()

    async def newer() -> bool:
        return await connector.credentials() != first

    from tests.waiting import until

    await until(newer)
    assert 2 == len(sts.requests)


async def test_a_key_that_was_rotated_is_read_again_once(connect, sts, store):
    connector = connect("session-token")
    await connector.credentials()
    store.contents["ml/s3"] = {"id": "NEWKEY", "secret": "stored"}
    sts.key_id = "NEWKEY"

    connector.invalidate(await connector.credentials())

    assert "issued-token-2" == (await connector.credentials()).session_token.reveal()


async def test_sts_refusing_a_key_makes_it_be_read_again_once(connect, sts, store):
    sts.key_id = "NEWKEY"
    connector = connect("session-token")

    with pytest.raises(CredentialUnavailable) as failure:
        await connector.credentials()

    assert 2 == store.reads
    assert "GetSessionToken answered 403 InvalidClientTokenId" == failure.value.detail


async def test_what_aws_quotes_is_not_repeated(connect, sts):
    sts.failure = (403, "SignatureDoesNotMatch")

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("session-token").credentials()

    assert "quoted-token" not in f"{failure.value} {failure.value.detail}"
    assert failure.value.__suppress_context__


async def test_an_sts_that_fails_is_asked_three_times(connect, sts):
    sts.failure = (503, "ServiceUnavailable")

    with pytest.raises(CredentialUnavailable):
        await connect("session-token").credentials()

    assert 3 == len(sts.requests)


async def test_an_sts_that_is_down_is_said_for_credentials_and_identity(connect):
    nowhere = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(CredentialUnavailable):
        await connect("session-token", sts_endpoint_url=nowhere).credentials()
    with pytest.raises(StoreUnavailable):
        await connect("secret-key", sts_endpoint_url=nowhere).identity()


async def test_identity_reads_a_refused_key_again_before_it_gives_up(connect, sts, store):
    sts.key_id = "NEWKEY"

    with pytest.raises(AccessDenied):
        await connect("secret-key").identity()

    assert 2 == store.reads


async def test_a_role_is_asked_for_with_all_that_is_configured(connect, sts):
    role = {
        "role_arn": "arn:aws:iam::123456789012:role/reader",
        "session_name": "ml",
        "external_id": "customer-7",
        "session_policy": {"Version": "2012-10-17", "Statement": []},
        "duration": "15m",
    }

    await connect("iam-role", **role).credentials()

    (request,) = sts.requests
    assert "AssumeRole" == request["Action"]
    assert (role["role_arn"], "ml", "customer-7", "900") == tuple(
        request[key] for key in ("RoleArn", "RoleSessionName", "ExternalId", "DurationSeconds")
    )
    assert '{"Version":"2012-10-17","Statement":[]}' == request["Policy"]


async def test_a_federation_token_is_asked_for_with_its_policy_and_no_role(connect, sts):
    policy = {"Version": "2012-10-17", "Statement": []}
    options = {"session_policy": policy, "session_name": "ml", "duration": "15m"}

    await connect("federation-token", role_arn="arn:aws:iam::1:role/x", **options).credentials()

    (request,) = sts.requests
    assert ("GetFederationToken", "ml", "900") == tuple(
        request[key] for key in ("Action", "Name", "DurationSeconds")
    )
    assert '{"Version":"2012-10-17","Statement":[]}' == request["Policy"]
    assert "RoleArn" not in request


async def test_a_web_identity_is_read_at_each_login_and_known_to_the_redactor(
    connect, sts, seen, tmp_path
):
    file = tmp_path / "token"
    sts.unsigned = True
    role = {"role_arn": "arn:aws:iam::123456789012:role/reader", "session_name": "ml"}
    connector = connect("web-identity", web_identity_token_file=file, **role)
    for token in ("first-token", "second-token"):
        file.write_text(f"{token}\n")
        connector.invalidate(await connector.credentials())

    assert ["first-token", "second-token"] == [each["WebIdentityToken"] for each in sts.requests]
    assert {("AssumeRoleWithWebIdentity", role["role_arn"], "ml")} == {
        (each["Action"], each["RoleArn"], each["RoleSessionName"]) for each in sts.requests
    }
    known = {secret.reveal() for secret in seen}
    assert {"first-token", "second-token", "issued-token-1", "issued-secret-2"} <= known


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file or directory"), (b"\n", "holds no token"), (b"\xff", "holds no token")],
)
async def test_a_web_identity_that_is_missing_is_said_with_its_file(
    connect, tmp_path, content, said
):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    role = {"role_arn": "arn:aws:iam::123456789012:role/reader"}

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("web-identity", web_identity_token_file=file, **role).credentials()

    assert f"{file}" in failure.value.detail
    assert said in failure.value.detail


async def test_a_busy_aws_is_unavailable_and_its_key_is_kept(connect, sts, store):
    sts.failure = (400, "Throttling")

    with pytest.raises(CredentialUnavailable):
        await connect("session-token").credentials()

    assert 1 == store.reads


async def test_the_log_names_the_connector_whose_credentials_were_refused(connect, sts):
    connector = connect("secret-key")
    with capture_logs() as logs:
        connector.invalidate(await connector.credentials())
        connector.invalidate(await connector.credentials())
        sts.failure = (403, "AccessDenied")
        with pytest.raises(CredentialUnavailable):
            await connect("session-token").credentials()

    told = [(entry["event"], entry["connector"]) for entry in logs if "connector" in entry]
    assert [("credential.refused", "ml")] * 2 + [("credential.unavailable", "ml")] == told


async def test_a_given_token_is_handed_on_as_it_stands(connect):
    connector = connect(
        "sts-token", session_token="secret://memory/ml/s3#token", region="eu-west-1"
    )

    credentials = await connector.credentials()

    assert "given" == credentials.session_token.reveal()
    assert "eu-west-1" == credentials.region
    assert credentials.expires_at is None


async def test_a_leased_key_carries_the_end_of_its_lease(connect, store):
    store.expires_in = 3600.0

    credentials = await connect("secret-key").credentials()

    assert credentials.expires_at is not None


async def test_a_refusal_of_older_credentials_keeps_the_newer_ones(connect, store):
    connector = connect("secret-key")
    old = await connector.credentials()
    connector.invalidate(old)
    store.contents["ml/s3"]["secret"] = "newer"
    await connector.credentials()

    connector.invalidate(old)
    await connector.credentials()

    assert 2 == store.reads


async def test_a_host_without_credentials_is_unavailable(connect, monkeypatch, tmp_path):
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "missing"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("implicit").credentials()

    assert "no AWS credentials" in failure.value.detail


async def test_a_host_tells_its_region_unless_one_is_configured(connect, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "TESTKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-host")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")

    assert "eu-central-1" == (await connect("implicit").credentials()).region
    assert "eu-west-1" == (await connect("implicit", region="eu-west-1").credentials()).region


def test_a_stored_key_loads_no_sdk():
    """Neither boto3 nor hvac is imported for a key in the environment."""
    program = """
import asyncio, os, sys
from agent.config.connectors import AwsConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.secrets.open import open_secret_stores
os.environ["X"] = "x"
stores = {"env": EnvSecretStore(type="env")}
secrets = open_secret_stores(stores, on_secret=lambda secret: None)
key = dict.fromkeys(("access_key_id", "secret_access_key", "session_token"), "secret://env/X")
aws = AwsConnector(type="aws", method="sts-token", **key)
asyncio.run(open_connectors({"ml": aws}, secrets)["ml"].credentials())
print(sorted({"boto3", "botocore", "hvac", "requests"} & set(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "[]" == ran.stdout.strip()
