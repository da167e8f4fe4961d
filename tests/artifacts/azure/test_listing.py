"""Listing goes on where the caller stopped, however Azure counts its pages."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.azure.store import AzureArtifactStore
from agent.artifacts.base import Entry
from agent.artifacts.paging import Position
from agent.credentials import AzureCredentials
from agent.testing.artifact_stores import BLOCK, below, entries
from agent.testing.connectors import GivenConnector
from tests.artifacts.azure.places import AzurePlace
from tests.doubles.azure import served
from tests.doubles.azure_blobs import BlobList, Order, flat, lake
from tests.servers.azurite import ACCOUNT, KEY, Azurite

NAMES = ["run/1", "run/2", "run-2/1", "run.txt", "a", "z/1", "zz", "run", "run0"]
ROOT = ArtifactUri.parse("az://artifacts/it")


@pytest.fixture
async def place(azurite: Azurite) -> AsyncIterator[AzurePlace]:
    place = AzurePlace(azurite)
    yield place
    await place.close()


@contextmanager
def listed(order: Order) -> Iterator[tuple[BlobList, AzureArtifactStore]]:
    """Serve `NAMES` in *order*, and yield the store that lists them."""
    blobs = BlobList([f"it/{name}" for name in NAMES], order)
    with served(blobs.answer, authority=None) as url:
        credentials = AzureCredentials(ACCOUNT, f"{url}/{ACCOUNT}", account_key=KEY)
        yield blobs, store_of(credentials)


def store_of(credentials: AzureCredentials, root: ArtifactUri = ROOT) -> AzureArtifactStore:
    connector = GivenConnector(credentials)
    return AzureArtifactStore("trial", root, connector, block_bytes=lambda: BLOCK)


def shown(found: list[Entry]) -> list[str]:
    """Return the names as they sort: a directory's with a slash."""
    return [Position.after(entry).order for entry in found]


class TestPages:
    """Each entry comes once, in the order of the names."""

    @pytest.mark.parametrize("page_size", [1, 2, 4, 1000])
    async def test_of_a_flat_account(self, page_size: int) -> None:
        with listed(flat) as (_, store):
            found = await entries(store, ROOT, page_size=page_size)
            await store.close()

        expected = ["a", "run", "run-2/", "run.txt", "run/", "run0", "z/", "zz"]
        assert expected == shown(found)

    @pytest.mark.parametrize("page_size", [1, 2, 4, 1000])
    async def test_of_a_data_lake(self, page_size: int) -> None:
        """It sorts otherwise; nothing is lost and nothing comes twice."""
        with listed(lake) as (_, store):
            found = await entries(store, ROOT, page_size=page_size)
            await store.close()

        assert ["a", "run", "run-2/", "run.txt", "run/", "run0", "z/", "zz"] == sorted(shown(found))

    async def test_of_another_agent_go_on_at_a_name(self) -> None:
        """A token says where to go on, also to one who did not make it: Azure is told the name."""
        with listed(flat) as (blobs, store):
            page = await store.list(ROOT, page_size=3, page_token=None)
            token = Position.after(page.entries[1]).token
            rest = await store.list(ROOT, page_size=1000, page_token=token)
            await store.close()

        assert ["run-2/", "run.txt", "run/", "run0", "z/", "zz"] == shown(list(rest.entries))
        assert "it/run" == blobs.asked[-1].query["startFrom"]

    async def test_go_on_behind_an_entry_that_is_gone(self) -> None:
        with listed(flat) as (blobs, store):
            token = Position("run-2", directory=True).token
            blobs.names.remove("it/run-2/1")
            rest = await store.list(ROOT, page_size=1000, page_token=token)
            await store.close()

        assert ["run.txt", "run/", "run0", "z/", "zz"] == shown(list(rest.entries))

    async def test_ask_for_no_more_than_they_show(self) -> None:
        """Where one ends, Azure's own marker goes on: no name is looked at twice."""
        with listed(flat) as (blobs, store):
            await entries(store, ROOT, page_size=2)
            await store.close()

        assert ["2"] * 4 == [asked.query["maxresults"] for asked in blobs.asked]
        assert all("startFrom" not in asked.query for asked in blobs.asked)


class TestRealServer:
    """Azurite does not know where to start from, as Azure did not for a long time."""

    async def test_another_agent_goes_on(self, place: AzurePlace) -> None:
        for name in NAMES:
            place.put(name, b"x")
        page = await place.store.list(place.root, page_size=4, page_token=None)
        other = store_of(place.credentials, place.root)

        rest = await other.list(place.root, page_size=1000, page_token=page.next_token)

        assert ["run/", "run0", "z/", "zz"] == shown(list(rest.entries))
        await other.close()

    async def test_many_entries(self, place: AzurePlace) -> None:
        names = [f"{n:03}" for n in range(120)]
        for name in names:
            place.put(name, b"")

        found = await entries(place.store, place.root, page_size=50)

        assert names == shown(found)


class TestFolders:
    """A data lake keeps an empty blob for each directory."""

    def _make(self, place: AzurePlace, name: str) -> ArtifactUri:
        uri = below(place.root, name)
        place.client.upload_blob(uri.key, b"", metadata={"hdi_isfolder": "true"})
        return uri

    async def test_is_listed_once_as_a_directory(self, place: AzurePlace) -> None:
        self._make(place, "folder")
        place.put("folder/x", b"1")

        assert ["folder/"] == shown(await entries(place.store, place.root, page_size=10))

    async def test_folder_of_a_portal_is_not_its_own_child(self, place: AzurePlace) -> None:
        """Portals make a folder as an empty blob whose name ends with a slash."""
        place.client.upload_blob(f"{place.root.key}/folder/", b"")
        place.put("folder/x", b"1")

        found = await entries(place.store, below(place.root, "folder"), page_size=10)

        assert ["x"] == shown(found)
