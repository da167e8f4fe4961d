"""Parameters of AWS Systems Manager, against moto with credentials enforced."""

import uuid

import pytest

from agent.errors import CredentialUnavailable
from agent.testing.secret_stores import VALUE, Case, SecretStoreContract
from tests.secrets.aws import in_environment, open_aws_store
from tests.servers.processes import free_port

KIND = "aws-parameter-store"
WRONG = "refused-key-of-a-test"


@pytest.fixture
def client(moto, monkeypatch):
    for name, value in in_environment(moto.admin).items():
        monkeypatch.setenv(name, value)
    client = moto.client("ssm")
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
def path():
    return f"ml/{uuid.uuid4()}"


@pytest.fixture
def put(client, path):
    def put(value: str) -> int:
        answer = client.put_parameter(
            Name=f"/{path}", Value=value, Type="SecureString", Overwrite=True
        )
        return answer["Version"]

    return put


@pytest.fixture
def case(path, put, open_store, moto, monkeypatch):
    versions = []

    def put_field(value: str) -> None:
        versions.append(put(f'{{"key": "{value}"}}'))

    put_field(VALUE)
    monkeypatch.setenv("AWS_OF_TEST_WRONG", WRONG)
    return Case(
        open_store(),
        path,
        put_field,
        hidden=[moto.admin.secret_access_key.reveal(), WRONG],
        unreachable=open_store(f"http://127.0.0.1:{free_port()}"),
        refused=open_store(secret_access_key="secret://env/WRONG"),
        version=lambda: str(versions[-1]),
    )


class TestParameterStore(SecretStoreContract):
    """Encrypted parameters with JSON fields and versions, as a user's key reads them."""


async def test_a_number_and_a_label_name_a_version(client, path, put, open_store):
    first, _ = put("first"), put("second")
    client.label_parameter_version(Name=f"/{path}", ParameterVersion=first, Labels=["stable"])
    store = open_store()

    assert "first" == (await store.read(path, "1")).fields[""].reveal()
    assert "first" == (await store.read(path, "stable")).fields[""].reveal()
    assert "second" == (await store.read(path, "2")).fields[""].reveal()


async def test_a_value_is_decrypted(path, put, open_store, client):
    put("value")

    assert "value" != client.get_parameter(Name=f"/{path}")["Parameter"]["Value"]
    assert "value" == (await open_store().read(path)).fields[""].reveal()


@pytest.mark.parametrize(("prefix", "cut"), [("", ""), ("/", ""), ("ml/", "ml/"), ("/ml/", "ml/")])
async def test_the_slash_that_aws_demands_may_be_left_out(path, put, open_store, prefix, cut):
    put("value")

    value = await open_store(prefix=prefix).read(path.removeprefix(cut))

    assert "value" == value.fields[""].reveal()


async def test_a_name_without_slashes_is_left_as_it_is(client, open_store):
    name = f"flat-{uuid.uuid4()}"
    client.put_parameter(Name=name, Value="value", Type="String")

    assert "value" == (await open_store().read(name)).fields[""].reveal()


async def test_a_missing_version_is_said(path, put, open_store):
    put("value")

    with pytest.raises(CredentialUnavailable) as failure:
        await open_store().read(path, "7")

    assert "or no version '7' of it: GetParameter answered 400" in failure.value.detail
