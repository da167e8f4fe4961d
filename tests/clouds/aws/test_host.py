"""What the host offers is reached, and its metadata service by nobody else."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from prometheus_client import REGISTRY

from agent.config.connectors import AwsConnector
from agent.connectors.open import open_connectors
from agent.egress import EgressRefused, guard
from agent.errors import CredentialUnavailable
from agent.secrets.open import open_secret_stores
from tests.doubles.aws_host import ADDRESS, POD, running_host
from tests.doubles.sts import running_sts
from tests.waiting import until


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A metadata service, guarded like a real one, and nothing else that offers a key."""
    guard()
    monkeypatch.setattr("agent.egress._FORBIDDEN", (ip_network(f"{ADDRESS}/32"),))
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "missing"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    with running_host() as host:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", host.address)
        yield host


@pytest.fixture
async def connect():
    secrets = open_secret_stores({}, on_secret=lambda _: None)
    opened = []

    def open_(method, **options):
        aws = AwsConnector(type="aws", method=method, **options)
        opened.extend(open_connectors({"host": aws}, secrets).values())
        return opened[-1]

    yield open_
    for connector in opened:
        await connector.close()
    await secrets.close()


async def test_a_login_reaches_the_metadata_service_and_nothing_beside_it_does(connect, host):
    logging_in = asyncio.create_task(connect("implicit").credentials())
    port = int(host.address.rpartition(":")[2])

    while not logging_in.done():
        with pytest.raises(EgressRefused):
            socket.create_connection((ADDRESS, port))
        await asyncio.sleep(0)

    assert "host-token-1" == (await logging_in).session_token.reveal()


async def test_the_end_is_that_which_the_host_says(connect, host):
    credentials = await connect("implicit").credentials()

    left = credentials.expires_at - datetime.now(UTC)
    assert timedelta(hours=5, minutes=59) < left <= host.life
    metric = "cloud_agent_credential_expiry_seconds"
    assert REGISTRY.get_sample_value(metric, {"connector": "host"}) > 5.9 * 3600


async def test_what_expires_is_fetched_again_through_the_guard(connect, host, monkeypatch):
    """By a refresh of botocore's own, which comes at a later call than the login."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{host.address}{POD}")
    host.life = timedelta(seconds=2)
    connector = connect("implicit")
    first = await connector.credentials()
    host.life = timedelta(hours=6)

    async def newer() -> bool:
        return await connector.credentials() != first

    await until(newer)
    assert (await connector.credentials()).expires_at > datetime.now(UTC) + timedelta(hours=5)


async def test_a_role_is_assumed_with_the_key_of_the_host(connect, host):
    with running_sts() as sts:
        sts.key_id = "HOSTKEY1"
        role = {"role_arn": "arn:aws:iam::1:role/reader", "sts_endpoint_url": sts.endpoint_url}
        credentials = await connect("iam-role", **role).credentials()

    assert "issued-token-1" == credentials.session_token.reveal()


async def test_a_web_identity_asks_no_metadata_service(connect, host, tmp_path):
    """Its token is all the proof there is: the request is not signed, with no key of the host."""
    (tmp_path / "token").write_text("token-of-the-pod\n")
    with running_sts() as sts:
        connector = connect(
            "web-identity",
            role_arn="arn:aws:iam::1:role/reader",
            web_identity_token_file=tmp_path / "token",
            sts_endpoint_url=sts.endpoint_url,
        )
        with pytest.raises(CredentialUnavailable):  # this STS wants a signature
            await connector.credentials()

    assert "token-of-the-pod" == sts.requests[0]["WebIdentityToken"]
    assert 0 == host.issued


async def test_a_host_whose_metadata_service_fails_has_nothing(connect, host):
    host.up = False

    with pytest.raises(CredentialUnavailable) as failure:
        await connect("implicit").credentials()

    assert "no AWS credentials in the environment, in files or at" in failure.value.detail
