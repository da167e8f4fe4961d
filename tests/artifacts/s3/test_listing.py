"""Large levels, and keys that look like folders."""

import pytest

from agent.artifacts.s3 import listing
from agent.errors import NotFound
from tests.artifacts.places import S3Place, below, entries
from tests.servers.seaweedfs import SeaweedFS


@pytest.fixture
def place(seaweedfs: SeaweedFS) -> S3Place:
    return S3Place(seaweedfs)


@pytest.fixture
def few_keys_per_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small levels behave as those with thousands of keys."""
    monkeypatch.setattr(listing, "KEYS_PER_REQUEST", 3)


@pytest.mark.usefixtures("few_keys_per_request")
class TestManyKeys:
    """More keys than one request returns."""

    @pytest.mark.parametrize("page_size", [1, 2, 3, 4, 100])
    async def test_full_directories_are_jumped_over(self, place: S3Place, page_size: int) -> None:
        for directory in "abc":
            for number in range(10):
                place.put(f"{directory}/{number}", b"")
        place.put("d", b"")

        listed = await entries(place.store, place.root, page_size=page_size)

        assert [below(place.root, name) for name in "abcd"] == [entry.uri for entry in listed]

    async def test_page_of_too_many_requests_is_cut_short(
        self, place: S3Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listing, "REQUESTS_PER_PAGE", 2)
        for directory in "abcdefg":
            for number in range(5):
                place.put(f"{directory}/{number}", b"")

        page = await place.store.list(place.root, page_size=100, page_token=None)
        listed = await entries(place.store, place.root, page_size=100)

        assert (2, True) == (len(page.entries), page.next_token is not None)
        assert [below(place.root, name) for name in "abcdefg"] == [entry.uri for entry in listed]


@pytest.mark.parametrize("page_size", [1, 2, 10])
async def test_folder_made_by_a_console_is_a_directory(place: S3Place, page_size: int) -> None:
    """Its empty key ends in a slash, which obstore does not show."""
    place.put("level/", b"")
    place.put("level/folder/", b"")
    place.put("level/folder/x", b"1")
    place.put("level/z", b"1")

    listed = await entries(place.store, below(place.root, "level"), page_size=page_size)

    found = {(entry.uri.segments[-1], entry.kind) for entry in listed}
    assert {("folder", "directory"), ("z", "file")} <= found


async def test_empty_root_is_an_empty_page(place: S3Place) -> None:
    assert [] == await entries(place.store, place.root, page_size=10)


async def test_object_is_no_level(place: S3Place) -> None:
    uri = place.put("x", b"1")

    with pytest.raises(NotFound):
        await place.store.list(uri, page_size=10, page_token=None)
