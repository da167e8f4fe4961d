"""What the connectors for EKS and ECR do beyond the contract, and what none of AWS takes."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from agent.artifact_uri import ArtifactUri
from agent.config.connectors import AwsConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.errors import CredentialUnavailable, UsageError
from agent.secrets.open import open_secret_stores
from tests.secrets.aws import KEY, in_environment

CLUSTER = "cluster-of-connectors"


@pytest.fixture(scope="module", autouse=True)
def _cluster(moto):
    moto.make_cluster(CLUSTER)


@pytest.fixture
async def secrets():
    env = EnvSecretStore(type="env", prefix="AWS_OF_TEST_")
    resolver = open_secret_stores({"env": env}, on_secret=lambda _: None)
    yield resolver
    await resolver.close()


@pytest.fixture
async def connect(moto, secrets, monkeypatch):
    for name, value in in_environment(moto.admin).items():
        monkeypatch.setenv(name, value)
    opened = []

    def open_(resource_type, *, reads=(), **options):
        place = {"region": moto.region, "endpoint_url": moto.endpoint_url}
        given = {"method": "secret-key", **place, **KEY, "resource_type": resource_type}
        aws = AwsConnector(type="aws", **(given | options))
        readable = {"it": [ArtifactUri.parse(uri) for uri in reads]}
        opened.extend(open_connectors({"it": aws}, secrets, readable=readable).values())
        return opened[-1]

    yield open_
    for connector in opened:
        await connector.close()


async def test_a_cluster_gets_another_token_before_it_stops_to_take_the_old_one(connect):
    """EKS takes one for 15 minutes."""
    credentials = await connect("kubernetes-cluster", resource_id=CLUSTER).credentials()

    left = credentials.expires_at - datetime.now(UTC)
    assert timedelta(minutes=13) < left <= timedelta(minutes=14)


async def test_identity_says_who_aws_knows_and_until_when_the_cluster_does(connect):
    connector = connect("kubernetes-cluster", resource_id=CLUSTER)

    identity = await connector.identity()

    assert "arn:aws:iam::123456789012:user/admin" == identity.name
    assert (await connector.credentials()).expires_at == identity.expires_at


async def test_a_registry_of_another_account(connect):
    credentials = await connect("docker-registry", resource_id="210987654321").credentials()

    assert "210987654321.dkr.ecr.eu-west-1.amazonaws.com" == credentials.registry
    assert credentials.expires_at > datetime.now(UTC) + timedelta(hours=11)


@pytest.mark.parametrize("resource_type", ["kubernetes-cluster", "docker-registry"])
async def test_a_key_that_was_rotated_is_read_again(connect, resource_type, moto, monkeypatch):
    """AWS refuses the old one to the connector, or the cluster does to whoever uses the token."""
    user = f"rotating-{uuid.uuid4()}"
    old = moto.make_user(user, "*")
    for name, value in in_environment(old).items():
        monkeypatch.setenv(name, value)
    connector = connect(resource_type, resource_id=CLUSTER if "cluster" in resource_type else None)
    refused = await connector.credentials()
    iam = moto.client("iam")
    iam.delete_access_key(UserName=user, AccessKeyId=old.access_key_id)
    iam.close()
    for name, value in in_environment(moto.admin).items():
        monkeypatch.setenv(name, value)

    connector.invalidate(refused)

    assert (await connector.identity()).name.endswith("user/admin")


async def test_a_cluster_that_is_missing_is_unavailable(connect):
    with pytest.raises(CredentialUnavailable) as failure:
        await connect("kubernetes-cluster", resource_id="missing").credentials()

    assert "DescribeCluster answered 404 ResourceNotFoundException" == failure.value.detail


async def test_who_may_not_is_unavailable(connect, moto, monkeypatch):
    limited = moto.make_user(f"limited-{uuid.uuid4()}", "sts:GetCallerIdentity")
    for name, value in in_environment(limited).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("docker-registry").credentials()

    assert failure.value.detail.startswith("GetAuthorizationToken answered 403")


async def test_the_metric_says_until_when_what_is_handed_out_is_good(connect):
    await connect("kubernetes-cluster", resource_id=CLUSTER).credentials()

    left = REGISTRY.get_sample_value("cloud_agent_credential_expiry_seconds", {"connector": "it"})
    assert 13 * 60 < left <= 14 * 60


@pytest.mark.parametrize(
    ("resource_id", "reads", "said"),
    [
        ("gs://artifacts", [], "should be s3://bucket"),
        ("artifacts", [], "a URI starts with a scheme"),
        ("s3://artifacts/a", ["s3://artifacts/b"], "s3://artifacts/b is not within it"),
        ("s3://artifacts/a", ["s3://artifacts/a/1", "s3://artifacts"], "is not within it"),
    ],
)
def test_a_resource_that_can_not_be_meant_is_refused(connect, resource_id, reads, said):
    with pytest.raises(UsageError, match=said) as refusal:
        connect("s3-bucket", resource_id=resource_id, reads=reads)

    assert "connectors.it.resource_id" in str(refusal.value)


def test_a_federation_token_without_artifact_stores_needs_a_policy(connect):
    with pytest.raises(
        UsageError, match="login of 'it': method federation-token needs session_policy"
    ):
        connect("aws-generic", method="federation-token")


ROLE = {"method": "iam-role", "role_arn": "arn:aws:iam::1:role/x"}


def test_more_prefixes_than_a_policy_holds_open_their_bucket_and_the_log_says_so(connect):
    many = [f"s3://artifacts/{number:02}-of-many-projects" for number in range(30)]
    with capture_logs() as logs:
        connect("s3-bucket", reads=many[:3], **ROLE)
        assert [] == logs

        connect("s3-bucket", reads=many, **ROLE)

    assert [("credential.widened", "warning", "it", 30)] == [
        (entry["event"], entry["log_level"], entry["connector"], entry["stores"]) for entry in logs
    ]


def test_more_buckets_than_a_policy_holds_are_refused(connect):
    many = [f"s3://artifacts-of-one-of-many-teams-{number:03}" for number in range(99)]

    with pytest.raises(UsageError, match="99 artifact stores need more"):
        connect("s3-bucket", reads=many, **ROLE)


def test_a_policy_that_sts_does_not_take_is_refused(connect):
    with pytest.raises(UsageError, match="STS takes 2048 characters"):
        connect("s3-bucket", session_policy={"Version": "x" * 2048}, **ROLE)
