"""AWS Secrets Manager, against moto with credentials enforced."""

import uuid

import pytest

from agent.errors import CredentialUnavailable
from agent.testing.secret_stores import VALUE, Case, SecretStoreContract
from tests.secrets.aws import in_environment, open_aws_store
from tests.servers.processes import free_port

KIND = "aws-secrets-manager"
WRONG = "refused-key-of-a-test"


@pytest.fixture
def client(moto, monkeypatch):
    for name, value in in_environment(moto.admin).items():
        monkeypatch.setenv(name, value)
    client = moto.client("secretsmanager")
    yield client
    client.close()


@pytest.fixture
async def open_store(moto):
    opened = []

    def open_(endpoint_url=moto.endpoint_url, **options):
        opened.append(open_aws_store(KIND, endpoint_url, **options))
        return opened[-1]._stores["it"].store

    yield open_
    for resolver in opened:
        await resolver.close()


@pytest.fixture
def path(client):
    name = f"ml/{uuid.uuid4()}"
    client.create_secret(Name=name, SecretString="{}")
    return name


@pytest.fixture
def case(client, path, open_store, moto, monkeypatch):
    def put(value: str) -> None:
        client.put_secret_value(SecretId=path, SecretString=f'{{"key": "{value}"}}')

    def version() -> str:
        return client.get_secret_value(SecretId=path)["VersionId"]

    put(VALUE)
    monkeypatch.setenv("AWS_OF_TEST_WRONG", WRONG)
    return Case(
        open_store(),
        path,
        put,
        hidden=[moto.admin.secret_access_key.reveal(), WRONG],
        unreachable=open_store(f"http://127.0.0.1:{free_port()}"),
        refused=open_store(secret_access_key="secret://env/WRONG"),
        version=version,
    )


class TestSecretsManager(SecretStoreContract):
    """Texts with JSON fields and versions, as a user's key reads them."""


async def test_a_stage_names_a_version(client, path, open_store):
    for value in ("first", "second"):
        client.put_secret_value(SecretId=path, SecretString=value)
    store = open_store()

    assert "first" == (await store.read(path, "AWSPREVIOUS")).fields[""].reveal()
    assert "second" == (await store.read(path, "AWSCURRENT")).fields[""].reveal()


async def test_bytes_are_given_as_base64(client, path, open_store):
    client.put_secret_value(SecretId=path, SecretBinary=b"\x00\xff")

    assert "AP8=" == (await open_store().read(path)).fields[""].reveal()


async def test_a_prefix_goes_before_each_path_and_an_arn_is_a_name(client, path, open_store):
    client.put_secret_value(SecretId=path, SecretString="value")
    arn = client.describe_secret(SecretId=path)["ARN"]

    short = await open_store(prefix="ml/").read(path.removeprefix("ml/"))

    assert "value" == short.fields[""].reveal()
    assert "value" == (await open_store().read(arn)).fields[""].reveal()


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (None, "AWS Secrets Manager has no secret 'ml/nothing': "),
        ("AWSPREVIOUS", "no secret 'ml/nothing', or no version 'AWSPREVIOUS' of it: "),
    ],
)
async def test_what_is_missing_is_said(open_store, client, version, said):
    with pytest.raises(CredentialUnavailable) as failure:
        await open_store().read("ml/nothing", version)

    assert said in failure.value.detail


async def test_the_check_says_who_we_are_also_who_may_read_some_names_only(
    open_store, client, moto, monkeypatch
):
    limited = moto.make_user(f"limited-{uuid.uuid4()}", "sts:GetCallerIdentity")
    for name, value in in_environment(limited).items():
        monkeypatch.setenv(name, value)
    store = open_store()

    assert "answers arn:aws:iam::123456789012:user/limited-" in await store.check()
    with pytest.raises(CredentialUnavailable) as failure:
        await store.read("ml/other")
    assert (
        "AWS Secrets Manager, asked for 'ml/other': GetSecretValue answered 403"
        in failure.value.detail
    )
