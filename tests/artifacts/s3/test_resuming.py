"""A transfer from a real server through what happens in the middle of it."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import Artifact, ByteRange
from agent.artifacts.s3.store import S3ArtifactStore
from agent.connectors.base import Connector
from agent.credentials import AwsCredentials
from agent.errors import Changed, StoreUnavailable
from agent.testing.connectors import GivenConnector
from tests.artifacts.places import BLOCK, S3Place, aws_credentials, below, read
from tests.servers.nginx import nginx
from tests.servers.processes import spawn
from tests.servers.seaweedfs import (
    ADMIN,
    BUCKET,
    READER,
    Key,
    SeaweedFS,
    s3_client,
)
from tests.servers.tcp_proxy import TcpProxy, tcp_proxy

MIB = 1024 * 1024
BIG = os.urandom(MIB) * 64
OTHER = BIG[::-1]


@pytest.fixture
def place(seaweedfs: SeaweedFS) -> S3Place:
    return S3Place(seaweedfs)


@pytest.fixture
async def proxy(seaweedfs: SeaweedFS) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(seaweedfs.port) as proxy:
        yield proxy


@pytest.fixture
def versioned(seaweedfs: SeaweedFS) -> Iterator[ArtifactUri]:
    """An object in a bucket that keeps versions."""
    bucket, s3 = f"versioned-{uuid.uuid4().hex[:8]}", s3_client(seaweedfs.endpoint_url)
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="models/big", Body=BIG)
    return ArtifactUri.parse(f"s3://{bucket}/models/big")


def store_of(uri: ArtifactUri, connector: Connector[AwsCredentials]) -> S3ArtifactStore:
    root = ArtifactUri(uri.scheme, uri.bucket, uri.segments[:-1])
    return S3ArtifactStore("trial", root, connector, block_bytes=lambda: BLOCK)


def store_at(proxy: TcpProxy, uri: ArtifactUri) -> S3ArtifactStore:
    return store_of(uri, GivenConnector(aws_credentials(proxy.endpoint_url)))


async def rest(artifact: Artifact, first: bytes) -> bytes:
    """Return *first* and all that comes after it."""
    return first + b"".join([block async for block in artifact.blocks()])


def reads(proxy: TcpProxy) -> list[bytes]:
    """Return the first request of each connection on which the object was read."""
    return [head for head in proxy.openings if head.startswith(b"GET ")]


async def test_a_broken_connection_is_mended(place: S3Place, proxy: TcpProxy) -> None:
    uri = place.put("big", BIG)
    proxy.cut_after = 30 * MIB

    assert BIG == await read(store_at(proxy, uri), uri)
    assert 3 == len(reads(proxy))


async def test_a_range_is_mended_to_its_end(place: S3Place, proxy: TcpProxy) -> None:
    uri = place.put("big", BIG)
    proxy.cut_after = 10 * MIB

    assert BIG[7 : 25 * MIB] == await read(store_at(proxy, uri), uri, ByteRange(7, 25 * MIB - 1))
    assert 3 == len(reads(proxy))


async def test_connections_that_never_last_are_mended_while_bytes_come(
    place: S3Place, proxy: TcpProxy
) -> None:
    uri = place.put("big", BIG)
    proxy.cut_after = 5 * MIB

    assert BIG == await read(store_at(proxy, uri), uri)
    assert len(reads(proxy)) > 12


async def test_a_store_that_says_nothing_more_is_given_up(
    place: S3Place, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries are not multiplied: the patience of the transfer bounds all of them."""
    monkeypatch.setattr("agent.artifacts.s3.source.STALL_SECONDS", 0.2)
    monkeypatch.setattr("agent.artifacts.s3.store.ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("agent.artifacts.resuming.PATIENCE_SECONDS", 0.5)
    uri = place.put("big", BIG)

    async with store_at(proxy, uri).open(uri) as artifact:
        blocks = artifact.blocks()
        await anext(blocks)
        proxy.gate.clear()
        with pytest.raises(StoreUnavailable):
            async for _ in blocks:
                pass

    assert len(reads(proxy)) < 8


async def test_a_refused_credential_is_renewed_in_the_middle(
    place: S3Place, proxy: TcpProxy
) -> None:
    """As one that was revoked: the store's connection breaks, and the old key is good no more."""
    uri = place.put("big", BIG)
    good = aws_credentials(proxy.endpoint_url)
    revoked = aws_credentials(proxy.endpoint_url, Key("REVOKED", ADMIN.secret_access_key))
    newer = aws_credentials(proxy.endpoint_url, READER)
    connector = Rotating(good, revoked, newer)

    async with store_of(uri, connector).open(uri) as artifact:
        first = await anext(artifact.blocks())
        connector.rotate()
        proxy.cut()
        data = await rest(artifact, first)

    assert BIG == data
    assert [revoked] == connector.invalidated
    keys = [READER.access_key_id in head.decode() for head in reads(proxy)]
    assert [False, False, True] == keys


class Rotating(GivenConnector[AwsCredentials]):
    """Gives the first credentials until they are rotated, and then goes on as its base does."""

    def rotate(self) -> None:
        del self._left[0]


async def test_an_object_that_was_replaced_has_changed(place: S3Place, proxy: TcpProxy) -> None:
    """Never the beginning of one object and the end of another."""
    uri = place.put("big", BIG)
    proxy.cut_after = 30 * MIB

    async with store_at(proxy, uri).open(uri) as artifact:
        first = await anext(artifact.blocks())
        await asyncio.to_thread(place.put, "big", OTHER)
        with pytest.raises(Changed):
            await rest(artifact, first)


async def test_an_object_that_was_deleted_has_changed(
    place: S3Place, proxy: TcpProxy, seaweedfs: SeaweedFS
) -> None:
    uri = place.put("big", BIG)

    async with store_at(proxy, uri).open(uri) as artifact:
        first = await anext(artifact.blocks())
        s3_client(seaweedfs.endpoint_url).delete_object(Bucket=BUCKET, Key=uri.key)
        proxy.cut()
        with pytest.raises(Changed):
            await rest(artifact, first)


@pytest.mark.parametrize("change", ["replaced", "deleted"])
async def test_a_versioned_bucket_gives_the_version_that_was_begun(
    versioned: ArtifactUri, proxy: TcpProxy, seaweedfs: SeaweedFS, change: str
) -> None:
    s3 = s3_client(seaweedfs.endpoint_url)

    async with store_at(proxy, versioned).open(versioned) as artifact:
        first = await anext(artifact.blocks())
        if change == "replaced":
            s3.put_object(Bucket=versioned.bucket, Key=versioned.key, Body=OTHER)
        else:
            s3.delete_object(Bucket=versioned.bucket, Key=versioned.key)
        proxy.cut()
        data = await rest(artifact, first)

    assert BIG == data


async def test_a_version_is_named_only_when_it_must_be(
    versioned: ArtifactUri, proxy: TcpProxy
) -> None:
    """Reading a version by its id takes a permission more."""
    proxy.cut_after = 30 * MIB

    assert BIG == await read(store_at(proxy, versioned), versioned)
    assert not any(b"versionId=" in head for head in reads(proxy))


async def test_a_version_that_was_deleted_has_changed(
    versioned: ArtifactUri, proxy: TcpProxy, seaweedfs: SeaweedFS
) -> None:
    s3 = s3_client(seaweedfs.endpoint_url)
    version = s3.head_object(Bucket=versioned.bucket, Key=versioned.key)["VersionId"]

    async with store_at(proxy, versioned).open(versioned) as artifact:
        first = await anext(artifact.blocks())
        s3.delete_object(Bucket=versioned.bucket, Key=versioned.key, VersionId=version)
        proxy.cut()
        with pytest.raises(Changed):
            await rest(artifact, first)


async def test_a_multipart_object_is_mended(place: S3Place, proxy: TcpProxy) -> None:
    uri = below(place.root, "parts")
    await asyncio.to_thread(put_parts, place, uri, [BIG[: 20 * MIB], BIG[20 * MIB :]])
    proxy.cut_after = 30 * MIB

    async with store_at(proxy, uri).open(uri) as artifact:
        data = await rest(artifact, b"")

    assert BIG == data
    assert (len(BIG), '-2"') == (artifact.size, artifact.etag[-3:])


def put_parts(place: S3Place, uri: ArtifactUri, parts: list[bytes]) -> None:
    s3, name = place._s3, {"Bucket": uri.bucket, "Key": uri.key}
    upload = s3.create_multipart_upload(**name)["UploadId"]
    done = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(**name, UploadId=upload, PartNumber=number, Body=part)["ETag"],
        }
        for number, part in enumerate(parts, start=1)
    ]
    s3.complete_multipart_upload(**name, UploadId=upload, MultipartUpload={"Parts": done})


async def test_a_store_that_restarts_is_read_on(tmp_path: Path) -> None:
    """nginx does that in a moment, and minds ranges and etags."""
    uri = ArtifactUri.parse(f"s3://{BUCKET}/models/big")
    (tmp_path / "files" / BUCKET / "models").mkdir(parents=True)
    (tmp_path / "files" / BUCKET / "models" / "big").write_bytes(BIG)
    with nginx(tmp_path / "files", tmp_path) as origin:
        store = store_of(uri, GivenConnector(aws_credentials(origin.url)))
        async with store.open(uri) as artifact:
            first = await anext(artifact.blocks())
            origin.server.stop()
            reading = asyncio.create_task(rest(artifact, first))
            again = spawn(
                origin.server.process.args, ready=origin.port, log=origin.server.log, cwd=tmp_path
            )
            with again:
                assert BIG == await reading
