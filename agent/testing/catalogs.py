"""What every catalog promises: a store that says where artifacts are."""

from dataclasses import dataclass
from typing import Protocol

import pytest

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore, Catalog
from agent.errors import AccessDenied, CredentialUnavailable, NotFound, StoreUnavailable


class CatalogStore(ArtifactStore, Catalog, Protocol):
    """A store that is a catalog, too."""


@dataclass
class Case:
    """A catalog, an artifact that it knows, and where the catalog was told that this is.

    *missing* is one that it does not know. The others are the same catalog with a login that its
    server refuses, at an address where nothing answers, and with a connector that has no
    credentials.
    """

    store: CatalogStore
    root: ArtifactUri
    known: ArtifactUri
    place: ArtifactUri
    missing: ArtifactUri
    refused: CatalogStore
    unreachable: CatalogStore
    without_credentials: CatalogStore


class CatalogContract:
    """Derive from it, with a fixture *case* that yields a `Case`."""

    async def test_what_it_knows_is_located(self, case: Case) -> None:
        assert case.place == (await case.store.locate(case.known)).uri

    async def test_what_lies_below_is_below(self, case: Case) -> None:
        below = ArtifactUri(case.known.scheme, case.known.bucket, (*case.known.segments, "a", "b"))

        found = (await case.store.locate(below)).uri

        assert (*case.place.segments, "a", "b") == found.segments
        assert found.within(case.place)

    async def test_what_it_does_not_know_is_not_found(self, case: Case) -> None:
        with pytest.raises(NotFound):
            await case.store.locate(case.missing)

    async def test_its_root_and_what_is_beside_it_are_not_found(self, case: Case) -> None:
        beside = ArtifactUri(case.root.scheme, f"{case.root.bucket}-evil", case.known.segments)

        for uri in (case.root, beside):
            with pytest.raises(NotFound):
                await case.store.locate(uri)

    async def test_a_refused_credential_is_access_denied(self, case: Case) -> None:
        with pytest.raises(AccessDenied):
            await case.refused.locate(case.known)
        with pytest.raises(AccessDenied):
            await case.refused.check()
        await case.refused.close()

    async def test_a_server_that_is_down_is_unavailable(self, case: Case) -> None:
        with pytest.raises(StoreUnavailable):
            await case.unreachable.locate(case.known)
        with pytest.raises(StoreUnavailable):
            await case.unreachable.check()
        await case.unreachable.close()

    async def test_without_credentials_none_is_available(self, case: Case) -> None:
        with pytest.raises(CredentialUnavailable):
            await case.without_credentials.locate(case.known)
        await case.without_credentials.close()

    async def test_check_reads(self, case: Case) -> None:
        assert "read" in await case.store.check()

    async def test_close_is_idempotent(self, case: Case) -> None:
        await case.store.close()
        await case.store.close()
