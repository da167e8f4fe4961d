"""The S3 store, a real server that enforces credentials, and a proxy between them."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ByteRange
from agent.artifacts.s3.store import S3ArtifactStore
from agent.credentials import AwsCredentials
from agent.errors import AccessDenied, NotFound, StoreUnavailable
from agent.secret import Secret
from agent.testing.connectors import GivenConnector
from tests.artifacts.places import BLOCK, S3Place, aws_credentials, below, read
from tests.servers.processes import free_port
from tests.servers.seaweedfs import (
    ADMIN,
    BUCKET,
    LISTER,
    OTHER_BUCKET,
    READER,
    REGION,
    Key,
    SeaweedFS,
    s3_client,
)
from tests.servers.tcp_proxy import TcpProxy, tcp_proxy
from tests.servers.tls import CertificateAuthority
from tests.waiting import until

MIB = 1024 * 1024
BIG = os.urandom(MIB) * 64
WRONG = Key(ADMIN.access_key_id, Secret("not-the-secret-of-the-test-store"))
HOSTILE_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "FROMTHEENVIRONMENT",
    "AWS_SECRET_ACCESS_KEY": "from-the-environment",
    "AWS_SESSION_TOKEN": "from-the-environment",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_REGION": "nowhere-1",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_ALLOW_HTTP": "true",
    "AWS_PROFILE": "nobody",
}


@pytest.fixture
def place(seaweedfs: SeaweedFS) -> S3Place:
    return S3Place(seaweedfs)


@pytest.fixture
async def proxy(seaweedfs: SeaweedFS) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(seaweedfs.port) as proxy:
        yield proxy


def store_of(root: ArtifactUri, *credentials: AwsCredentials) -> S3ArtifactStore:
    return S3ArtifactStore("trial", root, GivenConnector(*credentials), block_bytes=lambda: BLOCK)


class TestCredentials:
    """They come from the connector, and from nowhere else."""

    async def test_refused_ones_are_resolved_again_once(
        self, place: S3Place, seaweedfs: SeaweedFS
    ) -> None:
        uri = place.put("x", b"data")
        wrong = aws_credentials(seaweedfs.endpoint_url, WRONG)
        connector = GivenConnector(wrong, aws_credentials(seaweedfs.endpoint_url))
        store = S3ArtifactStore("trial", place.root, connector, block_bytes=lambda: BLOCK)

        assert await read(store, uri) == b"data"
        assert [wrong] == connector.invalidated

    async def test_what_is_missing_is_not_found_though_s3_says_denied(
        self, place: S3Place, seaweedfs: SeaweedFS
    ) -> None:
        """As it does to who may list, and may not read, what is not there."""
        there = place.put("x", b"data")
        connector = GivenConnector(aws_credentials(seaweedfs.endpoint_url, LISTER))
        store = S3ArtifactStore("trial", place.root, connector, block_bytes=lambda: BLOCK)

        for name in ("w", "x0", "xx", "\ue000", "x/y"):
            with pytest.raises(NotFound):
                await read(store, below(place.root, name))
        assert [] == connector.invalidated
        with pytest.raises(AccessDenied):
            await read(store, there)

    async def test_refused_twice_is_denied(self, place: S3Place, seaweedfs: SeaweedFS) -> None:
        uri = place.put("x", b"data")
        wrong = aws_credentials(seaweedfs.endpoint_url, WRONG)
        connector = GivenConnector(wrong)
        store = S3ArtifactStore("trial", place.root, connector, block_bytes=lambda: BLOCK)

        with pytest.raises(AccessDenied) as denied:
            await read(store, uri)

        assert [wrong] == connector.invalidated
        assert denied.value.detail == "the store refuses connector given: SignatureDoesNotMatch"
        assert denied.value.__cause__ is None

    @pytest.mark.parametrize(
        "key",
        ["<Code>ExpiredToken</Code>", "status code: 403", " status: 403,", "kind: UnexpectedEof,"],
    )
    async def test_key_that_looks_like_a_refusal(self, place: S3Place, key: str) -> None:
        """The control plane can't have credentials thrown away by the name of what it asks for."""
        with pytest.raises(NotFound):
            await read(place.store, below(place.root, key))

        assert place.connector.invalidated == []

    async def test_reader_of_one_bucket(self, seaweedfs: SeaweedFS) -> None:
        s3_client(seaweedfs.endpoint_url).put_object(Bucket=OTHER_BUCKET, Key="x", Body=b"")
        root = ArtifactUri.parse(f"s3://{OTHER_BUCKET}")
        store = store_of(root, aws_credentials(seaweedfs.endpoint_url, READER))

        with pytest.raises(AccessDenied):
            await read(store, below(root, "x"))
        with pytest.raises(AccessDenied):
            await store.check()

    async def test_environment_is_not_read(
        self, place: S3Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uri = place.put("x", b"data")
        for name, value in HOSTILE_ENVIRONMENT.items():
            monkeypatch.setenv(name, value)

        assert await read(place.store, uri) == b"data"

    async def test_plain_http_only_where_the_end_point_says_so(
        self, place: S3Place, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uri = place.put("x", b"data")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        store = store_of(place.root, aws_credentials(f"https://127.0.0.1:{seaweedfs.port}"))

        with pytest.raises(StoreUnavailable):
            await read(store, uri)

    async def test_private_ca(
        self, place: S3Place, seaweedfs: SeaweedFS, certificate_authority: CertificateAuthority
    ) -> None:
        """Trusted where the credentials name its file, and nowhere else."""
        uri = place.put("x", b"data")
        cert_file, key_file = certificate_authority.issue("store")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(cert_file, key_file)

        async with tcp_proxy(seaweedfs.port, tls=tls) as proxy:
            stranger = aws_credentials(proxy.endpoint_url)
            with pytest.raises(StoreUnavailable) as refusal:
                await read(store_of(place.root, stranger), uri)
            assert refusal.value.detail == "no answer: UnknownIssuer"
            friend = replace(stranger, ca_file=certificate_authority.ca_file)
            assert await read(store_of(place.root, friend), uri) == b"data"

    async def test_ca_file_that_is_missing(self, place: S3Place, tmp_path: Path) -> None:
        credentials = replace(aws_credentials("https://127.0.0.1:9"), ca_file=tmp_path / "ca.pem")

        with pytest.raises(StoreUnavailable) as failure:
            await read(store_of(place.root, credentials), below(place.root, "x"))

        assert str(tmp_path) not in str(failure.value)
        assert "ca.pem: No such file" in str(failure.value.detail)

    async def test_redirect_gets_no_signature(self) -> None:
        """obstore follows it; what was signed for the store is not shown to somebody else."""
        async with answering(b"HTTP/1.1 403 F\r\nContent-Length: 0\r\n\r\n") as (elsewhere, seen):
            location = f"Location: http://localhost:{elsewhere}/x".encode()
            answer = b"HTTP/1.1 307 T\r\n" + location + b"\r\nContent-Length: 0\r\n\r\n"
            async with answering(answer) as (port, _):
                root = ArtifactUri.parse(f"s3://{BUCKET}")
                store = store_of(root, aws_credentials(f"http://127.0.0.1:{port}"))
                with pytest.raises(AccessDenied):
                    await read(store, below(root, "x"))

        assert seen
        assert not any(b"authorization" in request.lower() for request in seen)

    async def test_session_of_an_assumed_role(self, place: S3Place, seaweedfs: SeaweedFS) -> None:
        uri = place.put("x", b"data")
        credentials = await asyncio.to_thread(assume_role, seaweedfs)

        assert await read(store_of(place.root, credentials), uri) == b"data"

    async def test_client_is_kept_until_credentials_change(
        self, place: S3Place, seaweedfs: SeaweedFS, proxy: TcpProxy
    ) -> None:
        uri = place.put("x", b"data")
        same = [aws_credentials(proxy.endpoint_url) for _ in range(2)]
        store = store_of(place.root, *same)

        for _ in range(5):
            await read(store, uri)

        assert proxy.connections == 1


class TestTransfer:
    """What passes the wire, and when."""

    async def test_not_asking_is_not_reading(self, place: S3Place, proxy: TcpProxy) -> None:
        """Of 64 MiB only what fits into the buffers of two connections leaves the store."""
        uri = place.put("big", BIG)
        store = store_of(place.root, aws_credentials(proxy.endpoint_url))

        async with store.open(uri) as artifact:
            await anext(artifact.blocks())
            await settled(proxy)
            passed = proxy.to_client

        assert passed < 24 * MIB

    async def test_leaving_ends_the_transfer(self, place: S3Place, proxy: TcpProxy) -> None:
        uri = place.put("big", BIG)
        store = store_of(place.root, aws_credentials(proxy.endpoint_url))

        async with store.open(uri) as artifact:
            await anext(artifact.blocks())
            assert proxy.open > 0

        await until(lambda: proxy.open == 0, timeout=2, message="the connection being closed")

    async def test_blocks_are_bounded(self, place: S3Place) -> None:
        """A block may exceed its size by what came with one read of the socket."""
        uri = place.put("big", BIG)

        async with place.store.open(uri) as artifact:
            sizes = [len(block) async for block in artifact.blocks()]

        assert len(BIG) == sum(sizes)
        assert max(sizes) <= BLOCK + MIB

    async def test_silent_store_is_noticed(
        self, place: S3Place, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("agent.artifacts.s3.store.ANSWER_SECONDS", 0.2)
        proxy.gate.clear()
        store = store_of(place.root, aws_credentials(proxy.endpoint_url))

        with pytest.raises(StoreUnavailable):
            await read(store, below(place.root, "x"))

    async def test_store_that_is_down(self) -> None:
        root = ArtifactUri.parse(f"s3://{BUCKET}")
        store = store_of(root, aws_credentials(f"http://127.0.0.1:{free_port()}"))
        started = time.monotonic()

        with pytest.raises(StoreUnavailable) as down:
            await read(store, below(root, "x"))

        assert time.monotonic() - started < 15
        assert down.value.detail == "no answer: ConnectionRefused"
        assert "127.0.0.1" not in str(down.value)

    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_store_that_fails_is_asked_three_times_in_all(self, status: int) -> None:
        """obstore, which would multiply the tries, makes none of its own."""
        answer = f"HTTP/1.1 {status} S\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        async with answering(answer.encode()) as (port, seen):
            root = ArtifactUri.parse(f"s3://{BUCKET}")
            store = store_of(root, aws_credentials(f"http://127.0.0.1:{port}"))
            with pytest.raises(StoreUnavailable) as failure:
                await read(store, below(root, "x"))

        assert (3, str(status)) == (len(seen), failure.value.detail)

    async def test_missing_bucket(self, seaweedfs: SeaweedFS) -> None:
        root = ArtifactUri.parse("s3://no-such-bucket")

        with pytest.raises(NotFound) as missing:
            await read(store_of(root, aws_credentials(seaweedfs.endpoint_url)), below(root, "x"))

        assert missing.value.detail == "NoSuchBucket"

    async def test_range_ends_the_transfer_at_its_end(
        self, place: S3Place, proxy: TcpProxy
    ) -> None:
        uri = place.put("big", BIG)
        store = store_of(place.root, aws_credentials(proxy.endpoint_url))

        assert BIG[MIB : 2 * MIB] == await read(store, uri, ByteRange(MIB, 2 * MIB - 1))
        assert proxy.to_client < 1.1 * MIB


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Give *answer* to every request; yields the port and the requests as they come."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()


async def settled(proxy: TcpProxy) -> None:
    """Wait until the count has stood still for some looks in a row."""
    seen: list[int] = []

    def still() -> bool:
        seen.append(proxy.to_client)
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    await until(still, timeout=20, message="the transfer standing still")


def assume_role(server: SeaweedFS) -> AwsCredentials:
    import boto3

    sts = boto3.client(
        "sts",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=ADMIN.access_key_id,
        aws_secret_access_key=ADMIN.secret_access_key.reveal(),
        region_name=REGION,
    )
    issued = sts.assume_role(RoleArn=server.role_arn, RoleSessionName="trial")["Credentials"]
    return AwsCredentials(
        Secret(issued["AccessKeyId"]),
        Secret(issued["SecretAccessKey"]),
        Secret(issued["SessionToken"]),
        REGION,
        server.endpoint_url,
    )
