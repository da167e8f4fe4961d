"""Bytes are compared with the checksum that the store keeps of them, where it keeps one."""

import asyncio
import base64
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ByteRange
from agent.artifacts.s3.checksums import LEAST_BYTES, full_object_checksum
from agent.artifacts.s3.store import S3ArtifactStore
from agent.artifacts.verifying import DIGESTS, Checksum
from agent.errors import Truncated
from agent.testing.connectors import GivenConnector
from tests.artifacts.places import BLOCK, S3Place, aws_credentials, below, read
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.tcp_proxy import tcp_proxy

DATA = os.urandom(LEAST_BYTES + 17)
_POLYNOMIAL = 0x9A6C9329AC4BC9B5
_NVME = [0] * 256
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = _value >> 1 ^ (_POLYNOMIAL if _value & 1 else 0)
    _NVME[_byte] = _value


def crc64nvme(data: bytes) -> bytes:
    value = 2**64 - 1
    for byte in data:
        value = value >> 8 ^ _NVME[(value ^ byte) & 255]
    return (value ^ (2**64 - 1)).to_bytes(8, "big")


KEPT = {
    "CRC32": zlib.crc32(DATA).to_bytes(4, "big"),
    "CRC32C": google_crc32c.value(DATA).to_bytes(4, "big"),
    "CRC64NVME": crc64nvme(DATA),
    "SHA1": hashlib.sha1(DATA).digest(),
    "SHA256": hashlib.sha256(DATA).digest(),
}
COMPUTED = [name for name in KEPT if name.lower() in DIGESTS]


def text(checksum: bytes) -> str:
    return base64.b64encode(checksum).decode()


@pytest.fixture(autouse=True)
def _debug() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("debug"))
    yield
    structlog.configure(**before)


@pytest.fixture
def place(seaweedfs: SeaweedFS) -> S3Place:
    return S3Place(seaweedfs)


class TestKeptByARealServer:
    """What SeaweedFS checked when it was stored, and shows who asks for it."""

    @pytest.mark.parametrize("algorithm", KEPT)
    async def test_each_algorithm(self, place: S3Place, algorithm: str) -> None:
        """One that nothing here computes, as crc64nvme without awscrt, is passed over."""
        uri = below(place.root, "dir/a b~ü")
        kept: dict[str, Any] = {f"Checksum{algorithm}": text(KEPT[algorithm])}
        place._s3.put_object(Bucket=uri.bucket, Key=uri.key, Body=DATA, **kept)

        with capture_logs() as logs:
            assert DATA == await read(place.store, uri)

        expected = ("checksum.verified", algorithm.lower())
        if algorithm not in COMPUTED:
            expected = ("checksum.unknown", None)
        assert [expected] == [(line["event"], line.get("algorithm")) for line in logs]

    @pytest.mark.parametrize(
        ("kind", "event"), [("FULL_OBJECT", "checksum.verified"), ("COMPOSITE", "checksum.unknown")]
    )
    async def test_of_an_object_of_parts(self, place: S3Place, kind: str, event: str) -> None:
        """A checksum of the checksums of parts says nothing that a reader could compare."""
        uri = below(place.root, "parts")
        await asyncio.to_thread(put_parts, place, uri, kind)

        with capture_logs() as logs:
            assert 6 * LEAST_BYTES == len(await read(place.store, uri))

        assert [event] == [line["event"] for line in logs]

    @pytest.mark.parametrize(
        ("size", "span", "requests"),
        [(LEAST_BYTES, None, 2), (LEAST_BYTES - 1, None, 1), (LEAST_BYTES, ByteRange(1), 1)],
    )
    async def test_only_large_whole_objects_take_a_second_request(
        self, seaweedfs: SeaweedFS, place: S3Place, size: int, span: ByteRange | None, requests: int
    ) -> None:
        uri = place.put("x", DATA[:size])

        async with tcp_proxy(seaweedfs.port) as proxy:
            connector = GivenConnector(aws_credentials(proxy.endpoint_url))
            store = S3ArtifactStore("trial", place.root, connector, block_bytes=lambda: BLOCK)
            await read(store, uri, span)
            methods = [head.partition(b" ")[0] for head in proxy.openings]

        assert [b"GET", b"HEAD"][:requests] == methods


def put_parts(place: S3Place, uri: ArtifactUri, kind: str) -> None:
    s3, name = place._s3, {"Bucket": uri.bucket, "Key": uri.key}
    upload = s3.create_multipart_upload(**name, ChecksumAlgorithm="CRC32", ChecksumType=kind)
    part = {**name, "UploadId": upload["UploadId"], "ChecksumAlgorithm": "CRC32"}
    done = []
    for number, size in ((1, 5), (2, 1)):
        body = bytes(size * LEAST_BYTES)
        stored = s3.upload_part(**part, PartNumber=number, Body=body)
        done.append({"PartNumber": number, "ETag": stored["ETag"],
                     "ChecksumCRC32": stored["ChecksumCRC32"]})  # fmt: skip
    s3.complete_multipart_upload(
        **name, UploadId=upload["UploadId"], MultipartUpload={"Parts": done}
    )


@dataclass
class Double:
    """Serves *content* as every object, and these headers to who asks for checksums."""

    content: bytes = DATA
    kept: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    etag: str = '"e1"'

    async def answer(self, request: web.Request) -> web.Response:
        headers = {"ETag": self.etag, "Last-Modified": "Mon, 23 Nov 2026 09:08:07 GMT"}
        if request.method == "GET":
            return web.Response(body=self.content, headers=headers)
        assert request.headers["x-amz-checksum-mode"] == "ENABLED"
        assert request.headers["if-match"] == '"e1"'
        return web.Response(status=self.status, headers={**headers, **self.kept})


@asynccontextmanager
async def reading(double: Double) -> AsyncIterator[tuple[S3ArtifactStore, ArtifactUri]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", double.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    root = ArtifactUri.parse("s3://bucket/models")
    connector = GivenConnector(aws_credentials(f"http://127.0.0.1:{runner.addresses[0][1]}"))
    store = S3ArtifactStore("trial", root, connector, block_bytes=lambda: BLOCK)
    try:
        yield store, below(root, "x")
    finally:
        await store.close()
        await runner.cleanup()


class TestWrongBytes:
    """A store that keeps the right checksum and sends other bytes."""

    @pytest.mark.parametrize("algorithm", COMPUTED)
    async def test_they_are_no_success(self, algorithm: str) -> None:
        flipped = DATA[:-1] + bytes([DATA[-1] ^ 1])
        kept = {f"x-amz-checksum-{algorithm.lower()}": text(KEPT[algorithm])}

        async with reading(Double(flipped, kept)) as (store, uri):
            with pytest.raises(Truncated) as failure:
                await read(store, uri)

        assert str(failure.value) == "the bytes are not those that were stored"
        assert algorithm.lower() in str(failure.value.detail)

    async def test_right_ones_are(self) -> None:
        async with reading(Double(kept={"x-amz-checksum-sha1": text(KEPT["SHA1"])})) as place:
            assert DATA == await read(*place)

    @pytest.mark.parametrize("status", [304, 307, 400, 403, 404, 412, 500, 503])
    async def test_without_a_checksum_they_can_not_be_known(self, status: int) -> None:
        """A second request that fails fails no transfer."""
        double = Double(kept={"x-amz-checksum-sha1": "AAAA", "Location": "/x"}, status=status)

        async with reading(double) as place:
            with capture_logs() as logs:
                assert DATA == await read(*place)

        assert [("checksum.unknown", status)] == [(line["event"], line["why"]) for line in logs]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x-amz-checksum-crc32": "AAAAAQ=="}, Checksum("crc32", bytes([0, 0, 0, 1]))),
        ({"x-amz-checksum-crc32": "AAAAAQ==-2"}, None),
        ({"x-amz-checksum-crc32": "AAAAAQ==", "x-amz-checksum-type": "COMPOSITE"}, None),
        ({"x-amz-checksum-crc32": "no base64"}, None),
        ({"x-amz-checksum-md6": "AAAAAQ=="}, None),
        (
            {"x-amz-checksum-sha256": "AAAA", "x-amz-checksum-crc32c": "AAAAAQ=="},
            Checksum("crc32c", bytes([0, 0, 0, 1])),
        ),
    ],
)
def test_the_cheapest_of_the_whole_object_is_taken(
    headers: Mapping[str, str], expected: Checksum | None
) -> None:
    assert expected == full_object_checksum(headers)


@pytest.mark.parametrize("algorithm", COMPUTED)
def test_digests_in_steps(algorithm: str) -> None:
    digest = DIGESTS[algorithm.lower()]()
    for start in range(0, len(DATA), 100_000):
        digest.update(DATA[start : start + 100_000])

    assert KEPT[algorithm] == digest.digest()


def test_the_tests_own_crc64nvme() -> None:
    """By the check value that its catalogue gives."""
    assert bytes.fromhex("ae8b14860a799888") == crc64nvme(b"123456789")
