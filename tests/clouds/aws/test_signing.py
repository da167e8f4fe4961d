"""Our signature is the one that AWS's own library makes."""

from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from agent.artifacts.s3.address import Address
from agent.clouds.aws.signing import signed_headers
from agent.credentials import AwsCredentials
from agent.secret import Secret

NOW = datetime(2026, 11, 23, 9, 8, 7, tzinfo=UTC)
HEADERS = {"if-match": '"an-etag"', "x-amz-checksum-mode": "ENABLED"}


@pytest.mark.parametrize("token", [None, "a-token-of-a-test"])
@pytest.mark.parametrize(
    "endpoint_url",
    [None, "http://localhost:9000", "https://minio.example:443", "http://minio.example:80/at"],
)
@pytest.mark.parametrize(
    "key", ["x", "a b/ü/\U0001f600", "c+d&e=f", "p%2Fq", "t~/st*r'()!", "1;2:3@"]
)
def test_signature(key: str, endpoint_url: str | None, token: str | None) -> None:
    secret = Secret("a-secret-access-key-of-a-test")
    issued = None if token is None else Secret(token)
    credentials = AwsCredentials(Secret("TESTKEY"), secret, issued, "eu-west-1", endpoint_url)
    address = Address.of("bucket", credentials)
    url = address.url_of(key)

    signed = signed_headers(
        "HEAD", url, HEADERS, region=address.region, credentials=credentials, now=NOW
    )

    assert by_botocore(url, token) == signed["authorization"]


def by_botocore(url: str, token: str | None) -> str:
    request = AWSRequest("HEAD", url, dict(HEADERS))
    key = Credentials("TESTKEY", "a-secret-access-key-of-a-test", token)
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        S3SigV4Auth(key, "s3", "eu-west-1").add_auth(request)
    return str(request.headers["Authorization"])
