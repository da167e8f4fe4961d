"""The HTTP store before real servers: credentials, TLS, and transfers that break."""

import asyncio
import os
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore
from agent.artifacts.http.store import HttpArtifactStore
from agent.artifacts.open import open_artifact_stores
from agent.config.artifact_stores import ArtifactStore as Settings
from agent.credentials import HttpCredentials
from agent.errors import Changed, StoreUnavailable, Truncated, UsageError
from agent.secret import Secret
from agent.testing.artifact_stores import BLOCK, below, read
from agent.testing.connectors import EmptyConnector, GivenConnector
from tests.artifacts.http.answering import answering, store_root
from tests.artifacts.http.places import GOOD, TOKEN, WRONG, HttpPlace
from tests.doubles.http_service import http_service
from tests.servers.tcp_proxy import tcp_proxy
from tests.servers.tls import CertificateAuthority
from tests.waiting import until

DATA = os.urandom(4 * BLOCK)


class TestCredentials:
    """They go to the store's own server, and are renewed once."""

    async def test_refused_ones_are_resolved_again_once(self, place: HttpPlace) -> None:
        uri = place.put("x", b"data")
        connector = GivenConnector(WRONG, GOOD)
        store = HttpArtifactStore("trial", place.root, connector, block_bytes=lambda: BLOCK)

        assert b"data" == await read(store, uri)
        assert [WRONG] == connector.invalidated
        await store.close()

    async def test_no_netrc_and_no_password_in_the_uri(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login mina password of-the-netrc\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))

        async with answering(web.Response(body=b""), anonymous=True) as (store, uri, requests):
            await read(store, uri)

        assert "Authorization" not in requests[0].headers

    async def test_a_private_ca_is_trusted_where_it_is_named(
        self,
        place: HttpPlace,
        served: tuple[int, Path],
        certificate_authority: CertificateAuthority,
    ) -> None:
        place.put("x", b"data")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*certificate_authority.issue("web"))

        async with tcp_proxy(served[0], tls=tls) as proxy:
            root = ArtifactUri.parse(f"{proxy.endpoint_url}/{place.root.key}")
            for ca_file in (None, certificate_authority.ca_file):
                login = GivenConnector(HttpCredentials(GOOD.authorization, ca_file=ca_file))
                store = HttpArtifactStore("tls", root, login, block_bytes=lambda: BLOCK)
                if ca_file:
                    assert b"data" == await read(store, below(root, "x"))
                else:
                    with pytest.raises(StoreUnavailable, match="answer") as failure:
                        await read(store, below(root, "x"))
                await store.close()

        assert "SSLCertVerificationError" in failure.value.detail

    async def test_a_ca_file_that_is_missing_is_named(self, tmp_path: Path) -> None:
        lost = HttpCredentials(None, ca_file=tmp_path / "lost.pem")
        root = ArtifactUri.parse("https://127.0.0.1/x")
        store = HttpArtifactStore("tls", root, GivenConnector(lost), block_bytes=lambda: BLOCK)

        with pytest.raises(StoreUnavailable) as failure:
            await read(store, below(root, "x"))

        assert f"{tmp_path / 'lost.pem'}: No such file or directory" == failure.value.detail
        await store.close()


class TestBrokenTransfers:
    """They go on where the version is known, and nowhere else."""

    async def test_a_cut_connection_leaves_no_gap(
        self, place: HttpPlace, served: tuple[int, Path]
    ) -> None:
        uri = place.put("x", DATA)

        async with tcp_proxy(served[0]) as proxy:
            proxy.cut_after = BLOCK + 4000
            store, moved = through(proxy.port, uri)
            data = await read(store, moved)
            await store.close()

        assert DATA == data
        assert proxy.connections > 3

    async def test_another_version_is_not_mixed_in(
        self, place: HttpPlace, served: tuple[int, Path]
    ) -> None:
        uri = place.put("x", DATA)

        async with tcp_proxy(served[0]) as proxy:
            proxy.cut_after = BLOCK + 4000
            store, moved = through(proxy.port, uri)
            async with store.open(moved) as artifact:
                blocks = artifact.blocks()
                assert DATA.startswith(await anext(blocks))
                place.put("x", DATA[::-1])
                with pytest.raises(Changed):
                    [block async for block in blocks]
            await store.close()

    async def test_an_answer_that_comes_after_its_caller_has_left_is_closed(self) -> None:
        asked, left = asyncio.Event(), asyncio.Event()

        async def late(request: web.BaseRequest) -> web.StreamResponse:
            asked.set()
            await left.wait()
            response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
            await response.prepare(request)
            await until(lambda: request.transport is None, message="the client's leaving")
            closed.set()
            return response

        closed = asyncio.Event()
        async with answering(late) as (store, uri, _), asyncio.timeout(8):
            reading = asyncio.create_task(read(store, uri))
            await asked.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            left.set()
            await closed.wait()

    async def test_a_credential_that_ends_in_the_middle_is_renewed(self) -> None:
        newer = HttpCredentials(Secret("Bearer the-next-one"))
        given = []

        async def expiring(request: web.BaseRequest) -> web.StreamResponse:
            given.append(request.headers["Authorization"])
            if len(given) > 1 and given[-1] != "Bearer the-next-one":
                return web.Response(status=401)
            first = int(request.headers.get("Range", "bytes=0-").strip("bytes=").split("-")[0])
            headers = {"ETag": '"a"', "Content-Length": str(len(DATA) - first)}
            if first:
                headers["Content-Range"] = f"bytes {first}-{len(DATA) - 1}/{len(DATA)}"
            response = web.StreamResponse(status=206 if first else 200, headers=headers)
            await response.prepare(request)
            await response.write(DATA[first : first + len(DATA) // 2 + 9])
            if not first:
                request.transport.close()
            return response

        async with http_service(expiring) as url:
            root = ArtifactUri.parse(f"{url}/store")
            connector = GivenConnector(GOOD, newer)
            store = HttpArtifactStore("trial", root, connector, block_bytes=lambda: BLOCK)
            assert DATA == await read(store, below(root, "x"))
            await store.close()

        assert [TOKEN, TOKEN, "Bearer the-next-one"] == given

    async def test_without_a_version_it_ends(self) -> None:
        async def half(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
            await response.prepare(request)
            await response.write(DATA[: len(DATA) // 2])
            request.transport.close()
            return response

        async with answering(half) as (store, uri, requests):
            with pytest.raises((Truncated, StoreUnavailable)):
                await read(store, uri)

        assert 1 == len(requests)

    async def test_leaving_does_not_wait_for_a_server_that_stalls(self) -> None:
        left = asyncio.Event()

        async def stall(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
            await response.prepare(request)
            await response.write(DATA[: BLOCK + 1])
            await until(lambda: request.transport is None, message="the client's leaving")
            left.set()
            return response

        async with answering(stall) as (store, uri, _), asyncio.timeout(8):
            async with store.open(uri) as artifact:
                await anext(artifact.blocks())
            await left.wait()


def through(port: int, uri: ArtifactUri) -> tuple[HttpArtifactStore, ArtifactUri]:
    moved = ArtifactUri(uri.scheme, f"127.0.0.1:{port}", uri.segments)
    store = HttpArtifactStore("cut", store_root(moved), GivenConnector(GOOD),
                              block_bytes=lambda: BLOCK)  # fmt: skip
    return store, moved


class TestSettings:
    """What `open` makes of them."""

    async def test_a_store_without_a_connector_sends_no_header(self) -> None:
        async with answering(web.Response(body=b"data")) as (_, uri, requests):
            settings = Settings(name="open", uri=str(store_root(uri)))
            stores = open_artifact_stores([settings], {}, block_bytes=lambda: BLOCK)
            store: ArtifactStore = stores.find(uri)

            assert b"data" == await read(store, uri)
            await stores.close()

        assert "Authorization" not in requests[0].headers

    def test_a_ca_file_beside_a_connector(self) -> None:
        settings = Settings(
            name="two", uri="https://host/x", connector="it", ca_file=Path("ca.pem")
        )
        connectors = {"it": EmptyConnector(HttpCredentials)}

        with pytest.raises(UsageError, match="ca_file belongs to its connector"):
            open_artifact_stores([settings], connectors, block_bytes=lambda: BLOCK)

    def test_plain_http_is_refused_beyond_this_host(self) -> None:
        with pytest.raises(ValueError, match="allow_plaintext"):
            Settings(name="plain", uri="http://files.example.com/x")
