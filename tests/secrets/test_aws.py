"""What secret stores of AWS do with the credentials of their own login."""

import asyncio
import json
import socket
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY

from agent.errors import CredentialUnavailable, UsageError
from agent.secret_reference import SecretReference
from tests.secrets.aws import KEY, STORES, in_environment, open_aws_store

REFERENCE = SecretReference(store="it", path="ml/login", field="key")


@pytest.fixture(scope="module", autouse=True)
def _secret(moto):
    manager, ssm = moto.client("secretsmanager"), moto.client("ssm")
    manager.create_secret(Name="ml/login", SecretString='{"key": "value"}')
    ssm.put_parameter(Name="/ml/login", Value='{"key": "value"}', Type="SecureString")
    manager.close()
    ssm.close()


@pytest.fixture
def use(monkeypatch):
    """Puts a key into the environment."""

    def use(key) -> None:
        for name, value in in_environment(key).items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture
async def opened(moto):
    resolvers = []

    def open_(kind, **options):
        resolvers.append(open_aws_store(kind, moto.endpoint_url, **options))
        return resolvers[-1]

    yield open_
    for resolver in resolvers:
        await resolver.close()


@pytest.mark.parametrize("kind", STORES)
async def test_a_key_that_was_rotated_is_read_again_and_nobody_notices(kind, opened, use, moto):
    user = f"rotating-{uuid.uuid4()}"
    old = moto.make_user(user, "*")
    use(old)
    resolver = opened(kind)
    await resolver.resolve(REFERENCE)
    iam = moto.client("iam")
    iam.delete_access_key(UserName=user, AccessKeyId=old.access_key_id)
    iam.close()
    use(moto.admin)
    resolver.invalidate(REFERENCE)

    assert "value" == (await resolver.resolve(REFERENCE)).reveal()


@pytest.mark.parametrize("kind", STORES)
async def test_a_role_is_assumed_and_its_end_told_apart_from_connectors(kind, opened, use, moto):
    """A connector of the same name has a metric of its own: no connector's name has a space."""
    role = _role_of_the_admin(moto)
    use(moto.admin)
    resolver = opened(kind, method="iam-role", role_arn=role)

    assert "value" == (await resolver.resolve(REFERENCE)).reveal()

    metric = "cloud_agent_credential_expiry_seconds"
    assert REGISTRY.get_sample_value(metric, {"connector": "secret store it"}) > 3000
    assert REGISTRY.get_sample_value(metric, {"connector": "it"}) is None
    assert "cloud-agent, until 20" in await resolver.check("it")


def _role_of_the_admin(moto) -> str:
    name = f"reader-{uuid.uuid4()}"
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    reads = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    iam = moto.client("iam")
    made = iam.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )
    document = json.dumps({"Version": "2012-10-17", "Statement": [reads]})
    iam.put_role_policy(RoleName=name, PolicyName="it", PolicyDocument=document)
    iam.close()
    return made["Role"]["Arn"]


@pytest.mark.parametrize("kind", STORES)
async def test_a_key_that_is_missing_is_said_by_its_own_reference(kind, opened):
    with pytest.raises(CredentialUnavailable) as failure:
        await opened(kind).resolve(REFERENCE)

    assert "AWS_OF_TEST_ID is not set" in failure.value.detail


@pytest.mark.parametrize("kind", STORES)
async def test_a_federation_token_for_secrets_needs_a_policy(kind, opened):
    with pytest.raises(UsageError, match="of 'secret store it': method federation-token needs"):
        opened(kind, method="federation-token", **KEY)


async def test_a_store_that_hangs_takes_no_thread_from_others(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-host")
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        resolver = open_aws_store("aws-secrets-manager", address, method="implicit")
        reading = asyncio.create_task(resolver.resolve(REFERENCE))

        asked, _ = await asyncio.to_thread(silent.accept)

        assert not reading.done()
        asked.close()
    with pytest.raises(CredentialUnavailable):
        await reading
    await resolver.close()


def test_opening_loads_no_sdk():
    program = """
import sys
from tests.secrets.aws import STORES, open_aws_store
for kind in STORES:
    open_aws_store(kind, "http://127.0.0.1:1")
print(sorted({"boto3", "botocore"} & set(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "[]" == ran.stdout.strip()
