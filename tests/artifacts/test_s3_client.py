"""Where a client goes, and that it shows no secret."""

import pytest

from agent.artifacts.s3_client import make_client
from agent.connectors.base import AwsCredentials
from agent.secrets.base import Secret

KEY, TOKEN = Secret("a-secret-access-key-of-a-test"), Secret("a-session-token-of-a-test")


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
