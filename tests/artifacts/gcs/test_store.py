"""What a store in Google Cloud Storage does when connections break and credentials end."""

import asyncio
import gzip
import os
import ssl
import subprocess
import sys

import pytest

from agent.artifacts.base import ByteRange
from agent.credentials import GcpCredentials
from agent.errors import AccessDenied, Changed, StoreUnavailable, Truncated
from agent.secret import Secret
from agent.testing.artifact_stores import BLOCK, DATA, below, read
from agent.testing.connectors import GivenConnector
from tests.artifacts.gcs.places import GcsPlace, gcp_credentials
from tests.doubles.gcp_proxy import running_gcs_proxy
from tests.servers.fake_gcs import start_fake_gcs
from tests.waiting import until


@pytest.fixture(scope="module")
def fake_gcs(tmp_path_factory):
    server = start_fake_gcs(tmp_path_factory.mktemp("gcs"))
    yield server
    server.stop()


@pytest.fixture
def proxy(fake_gcs):
    with running_gcs_proxy(fake_gcs.port) as proxy:
        yield proxy


@pytest.fixture
async def place(fake_gcs, proxy):
    place = GcsPlace(fake_gcs, proxy)
    yield place
    await place.close()


async def test_a_transfer_that_breaks_goes_on_with_the_next_byte_of_its_generation(place, proxy):
    uri = place.put("x", DATA)
    proxy.cut_after = BLOCK + 5

    async with place.store.open(uri) as artifact:
        data = b"".join([block async for block in artifact.blocks()])

    assert DATA == data
    first, again = [path for _, path in proxy.requests]
    assert "ifGenerationMatch" not in first
    assert f"ifGenerationMatch={artifact.etag}" in again


async def test_a_token_that_is_revoked_in_the_middle_is_renewed_and_the_fetch_goes_on(place, proxy):
    uri = place.put("x", DATA)
    connector = GivenConnector(
        gcp_credentials(proxy.endpoint_url), gcp_credentials(proxy.endpoint_url, "renewed")
    )
    store = place.read_by(connector)
    proxy.cut_after = BLOCK
    proxy.at_cut = lambda: setattr(proxy, "tokens", {"renewed"})

    assert DATA == await read(store, uri)

    assert ["good", "good", "renewed"] == [token for token, _ in proxy.requests]
    assert 1 == len(connector.invalidated)
    await store.close()


async def test_an_object_that_is_replaced_in_the_middle_is_changed(place, proxy):
    """fake-gcs-server passes over the condition, so that the answer must be looked at."""
    uri = place.put("x", DATA)
    proxy.cut_after = BLOCK
    proxy.at_cut = lambda: place.put("x", DATA[::-1])

    with pytest.raises(Changed):
        await read(place.store, uri)


async def test_an_object_that_is_deleted_in_the_middle_is_changed(place, proxy):
    uri = place.put("x", DATA)
    proxy.cut_after = BLOCK
    proxy.at_cut = lambda: place.bucket.blob(uri.key).delete()

    with pytest.raises(Changed):
        await read(place.store, uri)


@pytest.mark.parametrize("etag", ["", "abc", "-1", "1" * 30, "²", " 1"])
async def test_an_etag_of_another_store_is_no_generation(place, etag):
    uri = place.put("x", DATA)

    with pytest.raises(Changed):
        await read(place.store, uri, etag=etag)


@pytest.mark.parametrize("span", [None, ByteRange(10, 19)])
async def test_a_compressed_object_comes_as_it_is_stored(place, span):
    packed = gzip.compress(DATA)
    uri = place.put("x.csv.gz", packed, content_encoding="gzip")

    async with place.store.open(uri, span=span) as artifact:
        data = b"".join([block async for block in artifact.blocks()])

    assert (packed[10:20] if span else packed) == data
    assert len(packed) == artifact.size


async def test_bytes_that_are_not_those_stored_end_badly(place, proxy):
    uri = place.put("x", DATA)
    proxy.flip = True

    with pytest.raises(Truncated) as failure:
        await read(place.store, uri)

    assert "crc32c" in failure.value.detail


async def test_the_checksum_holds_over_a_transfer_that_breaks(place, proxy):
    uri = place.put("x", DATA)
    proxy.flip = True
    proxy.cut_after = BLOCK

    with pytest.raises(Truncated):
        await read(place.store, uri)


@pytest.mark.parametrize(
    "failure", [(503, "backendError"), (429, "rateLimitExceeded"), (403, "rateLimitExceeded")]
)
async def test_a_store_that_asks_for_patience_is_asked_again(place, proxy, failure):
    uri = place.put("x", DATA)
    proxy.failures = [failure] * 2

    assert DATA == await read(place.store, uri)
    assert 3 == len(proxy.requests)


async def test_a_refused_listing_is_asked_once_more_with_other_credentials(place, proxy):
    place.put("x", DATA)
    store = place.read_by(
        GivenConnector(
            gcp_credentials(proxy.endpoint_url, "old"), gcp_credentials(proxy.endpoint_url)
        )
    )

    page = await store.list(place.root, page_size=10, page_token=None)

    assert ["old", "good"] == [token for token, _ in proxy.requests]
    assert 1 == len(page.entries)
    await store.close()


@pytest.mark.parametrize(
    ("refused", "detail"), [("tokens", "401 authError"), ("forbidden", "403 forbidden")]
)
async def test_a_refusal_names_its_code_and_nothing_that_google_quotes(
    place, proxy, refused, detail
):
    place.put("x", DATA)
    setattr(proxy, refused, {"good"} if refused == "forbidden" else set())

    with pytest.raises(AccessDenied) as failure:
        await place.store.list(place.root, page_size=1, page_token=None)

    assert f"the store refuses connector given: {detail}" == failure.value.detail


async def test_a_redirect_leads_nowhere(place, proxy, fake_gcs):
    uri = place.put("x", DATA)
    with running_gcs_proxy(fake_gcs.port) as elsewhere:
        proxy.location = f"{elsewhere.endpoint_url}/storage/v1/b"

        with pytest.raises(StoreUnavailable) as failure:
            await read(place.store, uri)
        with pytest.raises(StoreUnavailable):
            await place.store.list(place.root, page_size=1, page_token=None)

        assert [] == elsewhere.requests
    assert "302" in failure.value.detail


async def test_leaving_ends_the_thread_that_waits_for_the_store(place, proxy):
    """At once, and not when a read may take no longer."""
    uri = place.put("x", DATA)
    proxy.stall_after = BLOCK

    async with place.store.open(uri) as artifact:
        await anext(artifact.blocks())
        await until(proxy.stalled.is_set)

    async with asyncio.timeout(5):
        await asyncio.to_thread(place.store._threads._pool.shutdown)


async def test_whoever_leaves_before_the_answer_leaves_no_connection_open(place, proxy):
    uri = place.put("x", DATA)
    proxy.gate.clear()
    reading = asyncio.create_task(read(place.store, uri))
    await until(lambda: proxy.requests)

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    proxy.gate.set()

    assert DATA == await read(place.store, uri)


async def test_newer_credentials_get_connections_of_their_own(place, proxy):
    uri = place.put("x", DATA)
    renewed = gcp_credentials(proxy.endpoint_url, "renewed")
    store = place.read_by(GivenConnector(gcp_credentials(proxy.endpoint_url), renewed))
    proxy.tokens = {"good", "renewed"}

    async with store.open(uri) as artifact:
        blocks = artifact.blocks()
        first = await anext(blocks)
        store._connector.invalidate(gcp_credentials(proxy.endpoint_url))
        assert DATA == await read(store, uri)
        rest = b"".join([block async for block in blocks])

    assert DATA == first + rest
    assert ["good", "renewed"] == [token for token, _ in proxy.requests]
    await store.close()


async def test_a_private_ca_is_trusted_where_it_is_configured(
    fake_gcs, certificate_authority, place
):
    uri = place.put("x", DATA)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate_authority.issue("gcs"))
    with running_gcs_proxy(fake_gcs.port, tls) as proxy:
        for ca_file in (certificate_authority.ca_file, None):
            token = Secret("good")
            credentials = GcpCredentials(token, None, proxy.endpoint_url, ca_file=ca_file)
            store = place.read_by(GivenConnector(credentials))
            if ca_file:
                assert DATA == await read(store, uri)
            else:
                with pytest.raises(StoreUnavailable, match="did not answer"):
                    await read(store, uri)
            await store.close()


async def test_nothing_but_the_object_is_asked_for(place, proxy):
    """Google's library would ask what the bucket is, too, in a thread of its own."""
    uri = place.put("x", DATA)

    await read(place.store, uri)

    assert [f"/download/storage/v1/b/artifacts/o/{place.root.key}%2Fx?alt=media"] == [
        path for _, path in proxy.requests
    ]


async def test_the_environment_leads_nowhere_else(place, monkeypatch):
    """Google's library would go where these say."""
    uri = place.put("x", DATA)
    for name in ("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert DATA == await read(place.store, uri)


async def test_a_directory_of_thousands_costs_one_request(place, proxy, fake_gcs):
    _fill(place, fake_gcs, "level/b")
    place.put("level/a", b"")
    place.put("level/c", b"")

    page = await place.store.list(below(place.root, "level"), page_size=1, page_token=None)
    second = await place.store.list(
        below(place.root, "level"), page_size=1, page_token=page.next_token
    )
    third = await place.store.list(
        below(place.root, "level"), page_size=1, page_token=second.next_token
    )

    kinds = [entry.kind for one in (page, second, third) for entry in one.entries]
    assert ["file", "directory", "file"] == kinds
    assert third.next_token is None
    assert 3 == len(proxy.requests)


async def test_a_page_holds_no_more_than_was_asked_for(place, proxy, fake_gcs):
    _fill(place, fake_gcs, "many")

    page = await place.store.list(below(place.root, "many"), page_size=1000, page_token=None)

    assert 1000 == len(page.entries)
    assert page.next_token is not None
    assert all("maxResults=1000" in path for _, path in proxy.requests)


def _fill(place, fake_gcs, path) -> None:
    """Put 2500 objects below *path*, faster than by as many requests."""
    place.put(f"{path}/first", b"")
    directory = fake_gcs.objects / place.root.key / path
    metadata = os.getxattr(directory / "first", "user.metadata")
    for number in range(2500):
        file = directory / f"{number:05}"
        file.touch()
        os.setxattr(file, "user.metadata", metadata)


def test_opening_a_store_loads_no_sdk():
    program = """
import sys
from agent.artifact_uri import ArtifactUri
from agent.artifacts.open import open_artifact_stores
from agent.config.artifact_stores import ArtifactStore
from agent.config.connectors import GcpConnector
from agent.connectors.open import open_connectors
from agent.secrets.open import open_secret_stores
secrets = open_secret_stores({}, on_secret=lambda secret: None)
connectors = open_connectors({"it": GcpConnector(type="gcp")}, secrets)
settings = ArtifactStore(name="it", uri="gs://bucket/x", connector="it")
open_artifact_stores([settings], connectors, block_bytes=lambda: 1)
print(sorted(name for name in sys.modules if name.split(".")[0] == "google"))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "[]" == ran.stdout.strip()
