"""Where a bucket is asked for: in the path, or in the host's name."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.s3.address import Address
from agent.artifacts.s3.checksums import LEAST_BYTES
from agent.artifacts.s3.store import S3ArtifactStore
from agent.config.connectors import AwsConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.credentials import AwsCredentials, S3Access
from agent.errors import NotFound
from agent.secrets.open import open_secret_stores
from agent.testing.connectors import GivenConnector
from tests.artifacts.places import BLOCK, aws_credentials, below, read
from tests.servers.seaweedfs import SeaweedFS, s3_client, start_seaweedfs
from tests.servers.tcp_proxy import tcp_proxy

BUCKET, DOMAIN = "127", "0.0.1"
"""Together they are a host's name that every machine can resolve."""
DATA = bytes(range(256)) * (LEAST_BYTES // 256)


def credentials(
    endpoint_url: str | None,
    *,
    region: str | None = None,
    addressing: Literal["auto", "path", "virtual"] = "auto",
) -> AwsCredentials:
    given = aws_credentials("")
    return replace(given, endpoint_url=endpoint_url, region=region, s3=S3Access(addressing))


@pytest.mark.parametrize(
    ("bucket", "region", "endpoint_url", "addressing", "expected"),
    [
        ("ml", None, None, "auto", "https://ml.s3.us-east-1.amazonaws.com/a%20b/%C3%BC"),
        ("ml", "eu-west-1", None, "auto", "https://ml.s3.eu-west-1.amazonaws.com/a%20b/%C3%BC"),
        ("ml", "cn-north-1", None, "auto",
         "https://ml.s3.cn-north-1.amazonaws.com.cn/a%20b/%C3%BC"),
        ("ml.prod", None, None, "auto", "https://s3.us-east-1.amazonaws.com/ml.prod/a%20b/%C3%BC"),
        ("ml", None, None, "path", "https://s3.us-east-1.amazonaws.com/ml/a%20b/%C3%BC"),
        ("ml", None, "https://minio:9000/", "auto", "https://minio:9000/ml/a%20b/%C3%BC"),
        ("ml", None, "https://minio:9000", "virtual", "https://ml.minio:9000/a%20b/%C3%BC"),
        ("ml", None, "http://minio/s3", "virtual", "http://ml.minio/s3/a%20b/%C3%BC"),
        ("ml", None, "http://[::1]:9000", "path", "http://[::1]:9000/ml/a%20b/%C3%BC"),
    ],
)  # fmt: skip
def test_url_of_an_object(
    bucket: str,
    region: str | None,
    endpoint_url: str | None,
    addressing: Literal["auto", "path", "virtual"],
    expected: str,
) -> None:
    place = credentials(endpoint_url, region=region, addressing=addressing)

    assert expected == Address.of(bucket, place).url_of("a b/ü")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """One whose buckets are hosts below `DOMAIN`."""
    server = start_seaweedfs(tmp_path_factory.mktemp("virtual"), domain=DOMAIN)
    s3 = s3_client(f"http://localhost:{server.port}")
    s3.create_bucket(Bucket=BUCKET)
    for key in ("models/x", "models/dir/a b~ü"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=DATA)
    yield server
    server.stop()


class TestVirtualHosts:
    """At a real server that takes the bucket from the host's name."""

    def store(self, port: int, addressing: Literal["path", "virtual"]) -> S3ArtifactStore:
        place = credentials(f"http://{DOMAIN}:{port}", addressing=addressing)
        root = ArtifactUri.parse(f"s3://{BUCKET}/models")
        return S3ArtifactStore("trial", root, GivenConnector(place), block_bytes=lambda: BLOCK)

    async def test_objects_and_levels_are_found(self, server: SeaweedFS) -> None:
        store = self.store(server.port, "virtual")
        root = ArtifactUri.parse(f"s3://{BUCKET}/models")

        listed = await store.list(root, page_size=10, page_token=None)

        assert ["dir", "x"] == [entry.uri.segments[-1] for entry in listed.entries]
        assert DATA == await read(store, below(root, "dir/a b~ü"))

    async def test_every_request_names_the_bucket_in_its_host(self, server: SeaweedFS) -> None:
        root = ArtifactUri.parse(f"s3://{BUCKET}/models")

        async with tcp_proxy(server.port) as proxy:
            await read(self.store(proxy.port, "virtual"), below(root, "x"))
            heads = [head.split(b"\r\n") for head in proxy.openings]

        assert [b"GET /models/x HTTP/1.1", b"HEAD /models/x HTTP/1.1"] == [
            head[0] for head in heads
        ]
        host = f"host: {BUCKET}.{DOMAIN}:{proxy.port}".encode()
        assert all(host in [line.lower() for line in head] for head in heads)

    async def test_in_the_path_there_is_no_such_bucket(self, server: SeaweedFS) -> None:
        """So what the tests before saw was the host's name."""
        place = credentials(f"http://{BUCKET}.{DOMAIN}:{server.port}", addressing="path")
        root = ArtifactUri.parse("s3://other/models")
        store = S3ArtifactStore("trial", root, GivenConnector(place), block_bytes=lambda: BLOCK)

        with pytest.raises(NotFound):
            await read(store, below(root, "x"))


async def test_the_configuration_reaches_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ID", "TESTKEY")
    monkeypatch.setenv("AWS_SECRET", "a-secret-access-key-of-a-test")
    connector = AwsConnector.model_validate(
        {"type": "aws", "method": "secret-key", "access_key_id": "secret://env/AWS_ID",
         "secret_access_key": "secret://env/AWS_SECRET", "addressing": "virtual",
         "requester_pays": True}
    )  # fmt: skip
    stores = open_secret_stores({"env": EnvSecretStore(type="env")}, on_secret=lambda _: None)

    credentials = await open_connectors({"s3": connector}, stores)["s3"].credentials()

    assert S3Access("virtual", requester_pays=True) == credentials.s3


@pytest.mark.parametrize("pays", [True, False])
async def test_who_asks_pays_only_where_the_configuration_says_so(
    seaweedfs: SeaweedFS, pays: bool
) -> None:
    root = ArtifactUri.parse("s3://artifacts/paid")
    s3_client(seaweedfs.endpoint_url).put_object(Bucket="artifacts", Key="paid/x", Body=DATA)

    async with tcp_proxy(seaweedfs.port) as proxy:
        place = replace(aws_credentials(proxy.endpoint_url), s3=S3Access(requester_pays=pays))
        store = S3ArtifactStore("trial", root, GivenConnector(place), block_bytes=lambda: BLOCK)
        assert DATA == await read(store, below(root, "x"))
        agreed = [b"x-amz-request-payer: requester" in head.lower() for head in proxy.openings]

    assert [pays, pays] == agreed
