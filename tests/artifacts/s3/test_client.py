"""Where a client goes, and that it shows no secret."""

import asyncio
import sys
from dataclasses import replace

import pytest

from agent.artifacts.s3.client import make_client
from agent.credentials import AwsCredentials
from agent.errors import CredentialUnavailable
from agent.secret import Secret
from tests.servers.processes import free_port

KEY, TOKEN = Secret("a-secret-access-key-of-a-test"), Secret("a-session-token-of-a-test")

READ_AND_EXIT = """
import asyncio, contextlib, obstore
from agent.artifacts.s3.client import make_client
from agent.credentials import AwsCredentials
from agent.errors import CredentialUnavailable
from agent.secret import Secret
from tests.servers.processes import free_port

credentials = AwsCredentials(Secret("k"), Secret("s"), None, None, "http://127.0.0.1:PORT")

async def read():
    with contextlib.suppress(obstore.exceptions.BaseError):
        await obstore.get_async(make_client("ml", credentials), "x")

asyncio.run(read())
"""


def credentials(*, region: str | None = None, endpoint_url: str | None = None) -> AwsCredentials:
    return AwsCredentials(Secret("TESTKEY"), KEY, TOKEN, region, endpoint_url)


@pytest.mark.parametrize(
    ("bucket", "region", "endpoint_url", "goes_to"),
    [
        ("ml", None, None, "https://ml.s3.us-east-1.amazonaws.com"),
        ("ml", "eu-west-1", None, "https://ml.s3.eu-west-1.amazonaws.com"),
        ("ml", "cn-north-1", None, "https://ml.s3.cn-north-1.amazonaws.com.cn"),
        ("ml.prod", "eu-west-1", None, "https://s3.eu-west-1.amazonaws.com"),
        ("ml", "eu-west-1", "https://minio:9000/", "https://minio:9000"),
    ],
)
def test_address(bucket: str, region: str | None, endpoint_url: str | None, goes_to: str) -> None:
    client = make_client(bucket, credentials(region=region, endpoint_url=endpoint_url))

    config, in_host = dict(client.config), goes_to.startswith(f"https://{bucket}.")
    assert goes_to == config["endpoint_url_s3"]
    assert str(in_host).lower() == config["virtual_hosted_style_request"]


def test_client_shows_no_secret() -> None:
    client = make_client("ml", credentials())

    shown = f"{client!r} {client.config} {client.client_options}"

    assert not any(secret.reveal() in shown for secret in (KEY, TOKEN))


async def test_process_ends_well_right_after_its_last_read() -> None:
    """obstore's threads abort a process whose interpreter goes away under them."""
    script = READ_AND_EXIT.replace("PORT", str(free_port()))
    for _ in range(5):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
        assert await process.wait() == 0


def test_newline_at_the_end_of_a_credential() -> None:
    torn = replace(credentials(), session_token=Secret("token\n"))

    with pytest.raises(CredentialUnavailable) as refusal:
        make_client("ml", torn)

    assert refusal.value.detail == "token has characters that no header can hold"
