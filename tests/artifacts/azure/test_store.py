"""The store for Azure, a real server that enforces credentials, and a proxy between them."""

import base64
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    generate_container_sas,
)

from agent.artifact_uri import ArtifactUri
from agent.artifacts.azure.pieces import AHEAD
from agent.artifacts.azure.store import AzureArtifactStore
from agent.credentials import AzureCredentials
from agent.errors import (
    AccessDenied,
    Changed,
    CredentialUnavailable,
    NotFound,
    StoreUnavailable,
    Truncated,
    Unsupported,
)
from agent.secret import Secret
from agent.testing.artifact_stores import BLOCK, below, entries, read
from agent.testing.connectors import GivenConnector
from tests.artifacts.azure.places import OTHER_KEY, AzurePlace
from tests.doubles.azure import Answer, Asked, served
from tests.servers.azurite import ACCOUNT, CONTAINER, KEY, OTHER_CONTAINER, Azurite
from tests.servers.tcp_proxy import TcpProxy, tcp_proxy
from tests.waiting import until

BIG = os.urandom(20 * BLOCK + 3)
WHOLE_PIECE = {
    "Content-Type": "text/csv",
    "Content-Range": "bytes 0-3/4",
    "ETag": '"0x1"',
    "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT",
    "x-ms-blob-type": "BlockBlob",
}
WHOLE_PROTOCOL = 64 * 1024
"""More than what TLS and headers add to a few pieces."""


@pytest.fixture
async def place(azurite: Azurite) -> AsyncIterator[AzurePlace]:
    place = AzurePlace(azurite)
    yield place
    await place.close()


@pytest.fixture
async def proxy(azurite: Azurite) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(azurite.port) as proxy:
        yield proxy


def through(proxy: TcpProxy, place: AzurePlace) -> AzureArtifactStore:
    """Return the store of *place*, reached by *proxy*."""
    endpoint = f"https://127.0.0.1:{proxy.port}/{ACCOUNT}"
    return place.read_by(GivenConnector(replace(place.credentials, endpoint_url=endpoint)))


def with_sas(place: AzurePlace, life: float, permissions: str = "rl") -> AzureCredentials:
    sas = generate_container_sas(
        ACCOUNT,
        CONTAINER,
        KEY.reveal(),
        permission=ContainerSasPermissions.from_string(permissions),
        expiry=datetime.now(UTC) + timedelta(seconds=life),
    )
    return replace(place.credentials, account_key=None, sas_token=Secret(sas))


class TestCredentials:
    """They come from the connector, and are asked for with every piece."""

    async def test_refused_ones_are_resolved_again_once(self, place: AzurePlace) -> None:
        uri = place.put("x", b"data")
        wrong = replace(place.credentials, account_key=OTHER_KEY)
        connector = GivenConnector(wrong, place.credentials)
        store = place.read_by(connector)

        assert b"data" == await read(store, uri)
        assert [wrong] == connector.invalidated
        await store.close()

    async def test_that_end_in_the_middle_are_renewed_and_the_transfer_goes_on(
        self, place: AzurePlace
    ) -> None:
        uri = place.put("x", BIG)
        short = with_sas(place, 2)
        connector = GivenConnector(short, with_sas(place, 600))
        store = place.read_by(connector)

        async with store.open(uri) as artifact, aclosing(artifact.blocks()) as blocks:
            data = await anext(blocks)
            await until(lambda: _is_refused(short), message="the SAS being over")
            data += b"".join([block async for block in blocks])

        assert data == BIG
        assert set(connector.invalidated) == {short}
        await store.close()

    async def test_newer_ones_serve_the_next_piece(self, place: AzurePlace) -> None:
        """A connector that renews in time is never refused, however slow the reader is."""
        uri = place.put("x", BIG)
        connector = GivenConnector(with_sas(place, 600), with_sas(place, 601))
        store = place.read_by(connector)

        async with store.open(uri) as artifact, aclosing(artifact.blocks()) as blocks:
            data = await anext(blocks)
            first = await connector.credentials()
            connector.invalidate(first)
            data += b"".join([block async for block in blocks])

        assert data == BIG
        assert [first] == connector.invalidated
        await store.close()

    async def test_without_the_right_permission_are_refused(self, place: AzurePlace) -> None:
        place.put("x", b"data")
        store = place.read_by(GivenConnector(with_sas(place, 600, permissions="r")))

        with pytest.raises(AccessDenied) as refusal:
            await store.list(place.root, page_size=1, page_token=None)
        assert "Azure answered 403" in str(refusal.value.detail)
        await store.close()

    async def test_of_another_account_are_not_used(self, azurite: Azurite) -> None:
        """The account that an abfss:// address names is the one that is read."""
        lake = AzurePlace(azurite, f"abfss://{CONTAINER}@anotheraccount.dfs.core.test")

        with pytest.raises(CredentialUnavailable) as failure:
            await lake.store.check()
        assert "not anotheraccount" in str(failure.value.detail)
        await lake.close()

    async def test_nothing_secret_is_in_an_error(self, place: AzurePlace) -> None:
        over = with_sas(place, -60)
        store = place.read_by(GivenConnector(over))

        with pytest.raises(AccessDenied) as refusal:
            await store.check()

        shown = f"{refusal.value!r} {refusal.value.detail} {refusal.value.__context__!r}"
        assert over.sas_token is not None
        assert "sig=" not in shown
        await store.close()


def _is_refused(credentials: AzureCredentials) -> bool:
    assert credentials.sas_token is not None
    assert credentials.endpoint_url is not None
    client = ContainerClient(
        credentials.endpoint_url,
        CONTAINER,
        credentials.sas_token.reveal(),
        connection_verify=str(credentials.ca_file),
        retry_total=0,
    )
    with client:
        try:
            next(client.list_blob_names().by_page())
        except HttpResponseError:
            return True
    return False


class TestTransfers:
    """They come without a gap, and hold little."""

    async def test_goes_on_where_a_connection_broke(
        self, place: AzurePlace, proxy: TcpProxy
    ) -> None:
        uri = place.put("x", BIG)
        proxy.cut_after = 5 * BLOCK
        store = through(proxy, place)

        assert BIG == await read(store, uri)
        assert proxy.connections > 4
        await store.close()

    async def test_of_a_slow_reader_are_only_a_little_ahead(
        self, place: AzurePlace, proxy: TcpProxy
    ) -> None:
        uri = place.put("x", BIG)
        store = through(proxy, place)

        async with store.open(uri) as artifact, aclosing(artifact.blocks()) as blocks:
            await anext(blocks)
            await until(lambda: proxy.to_client > (1 + AHEAD) * BLOCK, message="pieces ahead")
            await anext(blocks)
            await until(lambda: proxy.to_client > (2 + AHEAD) * BLOCK, message="pieces ahead")
            came = proxy.to_client

        assert came < (2 + AHEAD) * BLOCK + WHOLE_PROTOCOL
        await store.close()

    async def test_that_nobody_reads_on_end(self, place: AzurePlace, proxy: TcpProxy) -> None:
        uri = place.put("x", BIG)
        store = through(proxy, place)

        async with store.open(uri) as artifact, aclosing(artifact.blocks()) as blocks:
            await anext(blocks)
        await store.close()

        await until(lambda: proxy.open == 0, message="no connection being open")
        assert proxy.to_client < (1 + AHEAD) * BLOCK + WHOLE_PROTOCOL

    async def test_of_what_is_replaced_meanwhile_is_changed(self, place: AzurePlace) -> None:
        uri = place.put("x", BIG)

        async with place.store.open(uri) as artifact, aclosing(artifact.blocks()) as blocks:
            await anext(blocks)
            place.put("x", BIG[::-1])

            with pytest.raises(Changed):
                await _drained(blocks)

    async def test_an_etag_that_stands_for_any_is_none(self, place: AzurePlace) -> None:
        uri = place.put("x", b"data")

        with pytest.raises(Changed):
            await read(place.store, uri, etag="*")

    async def test_a_server_that_is_silent_for_a_moment_is_asked_again(
        self, place: AzurePlace, proxy: TcpProxy
    ) -> None:
        uri = place.put("x", b"data")
        proxy.cut_after = 0
        store = through(proxy, place)

        with pytest.raises(StoreUnavailable):
            await read(store, uri)
        proxy.cut_after = None

        assert b"data" == await read(store, uri)
        await store.close()


class TestContent:
    """It is what its writer said it is."""

    async def test_with_the_right_digest_is_read(self, place: AzurePlace) -> None:
        uri = _put_with_digest(place, hashlib.md5(BIG).digest())

        assert BIG == await read(place.store, uri)

    async def test_with_another_digest_does_not_end_well(self, place: AzurePlace) -> None:
        uri = _put_with_digest(place, bytes(16))

        with pytest.raises(Truncated, match="not those that were stored") as failure:
            await read(place.store, uri)

        assert "another md5" in str(failure.value.detail)

    async def test_piece_that_came_otherwise_than_it_was_sent_is_asked_for_again(
        self, place: AzurePlace
    ) -> None:
        digests = [bytes(16), hashlib.md5(b"data").digest()]

        def piece(_: Asked) -> Answer:
            digest = base64.b64encode(digests.pop(0)).decode()
            return Answer(206, b"data", {**WHOLE_PIECE, "Content-MD5": digest})

        with served(piece, authority=None) as url:
            endpoint = replace(place.credentials, endpoint_url=f"{url}/{ACCOUNT}")
            store = place.read_by(GivenConnector(endpoint))
            assert b"data" == await read(store, below(place.root, "x"))
            await store.close()

        assert [] == digests


async def _drained(blocks: AsyncIterator[bytes], into: bytearray | None = None) -> None:
    async for block in blocks:
        if into is not None:
            into += block


def _put_with_digest(place: AzurePlace, digest: bytes) -> ArtifactUri:
    # Azure keeps the digest of a blob in blocks as it is given, without a look at the content.
    uri = below(place.root, "x")
    settings = ContentSettings(content_md5=bytearray(digest))
    client = place.client.get_blob_client(uri.key)
    client.stage_block("a", BIG)
    client.commit_block_list(["a"], content_settings=settings)
    return uri


class TestNames:
    """What a container holds and is no artifact, and what lies elsewhere."""

    async def test_folder_of_a_data_lake_is_no_object(self, place: AzurePlace) -> None:
        uri = below(place.root, "folder")
        place.client.upload_blob(uri.key, b"", metadata={"hdi_isfolder": "true"})

        with pytest.raises(NotFound):
            await read(place.store, uri)

    async def test_other_container_is_out_of_reach(self, place: AzurePlace) -> None:
        elsewhere = ArtifactUri.parse(f"az://{OTHER_CONTAINER}/x")

        with pytest.raises(NotFound):
            await read(place.store, elsewhere)

    async def test_container_that_is_missing_is_not_found(self, place: AzurePlace) -> None:
        root = ArtifactUri.parse("az://missing")
        connector = GivenConnector(place.credentials)
        store = AzureArtifactStore("trial", root, connector, block_bytes=lambda: BLOCK)

        with pytest.raises(NotFound):
            await store.check()
        await store.close()

    async def test_archived_blob_says_so(self, place: AzurePlace) -> None:
        uri = place.put("x", b"data")
        place.client.get_blob_client(uri.key).set_standard_blob_tier("Archive")

        with pytest.raises(Unsupported, match="archived"):
            await read(place.store, uri)

    async def test_whole_container_can_be_a_root(self, place: AzurePlace) -> None:
        uri = place.put("x", b"data")
        root = ArtifactUri.parse(f"az://{CONTAINER}")
        connector = GivenConnector(place.credentials)
        store = AzureArtifactStore("trial", root, connector, block_bytes=lambda: BLOCK)

        assert b"data" == await read(store, uri)
        assert place.root in [entry.uri for entry in await entries(store, root, page_size=1000)]
        await store.close()


async def test_redirects_are_not_followed(place: AzurePlace) -> None:
    asked: list[Asked] = []

    def elsewhere(request: Asked) -> Answer:
        asked.append(request)
        return Answer(200, b"data")

    with served(elsewhere, authority=None) as target:
        answer = Answer(307, {}, {"Location": f"{target}/x"})
        with served(lambda _: answer, authority=None) as url:
            endpoint = replace(place.credentials, endpoint_url=f"{url}/{ACCOUNT}")
            store = place.read_by(GivenConnector(endpoint))
            with pytest.raises(StoreUnavailable):
                await read(store, below(place.root, "x"))
            await store.close()

    assert [] == asked
