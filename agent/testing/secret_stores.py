"""What every secret store promises; each test is run against the real thing."""

import asyncio
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from agent.errors import CredentialUnavailable
from agent.secrets.base import SecretStore

VALUE = "value-of-a-test-secret"


@dataclass
class Case:
    """A store, the path of a secret with the field ``key``, and a way to change it.

    *hidden* are the values of the store's own login, which no error may show. *unreachable* is the
    same store where nothing answers, *refused* with a login that its server refuses; None where
    there is no such thing. *version* names the version that stands there now; None where the store
    has no versions.
    """

    store: SecretStore
    path: str
    put: Callable[[str], object]
    hidden: Sequence[str] = ()
    unreachable: SecretStore | None = None
    refused: SecretStore | None = None
    version: Callable[[], str] | None = None


class SecretStoreContract:
    """Derive from it, with a fixture *case* that yields a `Case` whose secret is `VALUE`."""

    async def test_a_field_that_is_there_is_read(self, case: Case) -> None:
        assert VALUE == (await case.store.read(case.path)).fields["key"].reveal()

    async def test_a_path_that_is_missing_is_unavailable(self, case: Case) -> None:
        with pytest.raises(CredentialUnavailable) as failure:
            await case.store.read(case.path + "_missing")

        assert failure.value.detail

    async def test_a_field_that_is_missing_is_not_among_the_fields(self, case: Case) -> None:
        assert "missing" not in (await case.store.read(case.path)).fields

    async def test_each_reading_sees_what_stands_there_now(self, case: Case) -> None:
        await case.store.read(case.path)

        case.put("rotated")

        assert "rotated" == (await case.store.read(case.path)).fields["key"].reveal()

    async def test_a_version_stays_and_a_store_without_versions_says_so(self, case: Case) -> None:
        if case.version is None:
            with pytest.raises(CredentialUnavailable) as failure:
                await case.store.read(case.path, "1")
            assert "no versions" in str(failure.value.detail)
            return
        old = case.version()

        case.put("rotated")

        assert VALUE == (await case.store.read(case.path, old)).fields["key"].reveal()
        assert "rotated" == (await case.store.read(case.path)).fields["key"].reveal()

    async def test_a_version_that_is_missing_is_unavailable(self, case: Case) -> None:
        with pytest.raises(CredentialUnavailable) as failure:
            await case.store.read(case.path, "987654321")

        assert failure.value.detail

    async def test_concurrent_readings_do_not_disturb_each_other(self, case: Case) -> None:
        values = await asyncio.gather(*(case.store.read(case.path) for _ in range(40)))

        assert [VALUE] * 40 == [value.fields["key"].reveal() for value in values]

    async def test_a_value_is_in_no_repr(self, case: Case) -> None:
        value = await case.store.read(case.path)

        assert VALUE not in f"{value!r} {value} {value.fields}"

    async def test_a_failure_shows_neither_value_nor_place_to_the_cloud(self, case: Case) -> None:
        await case.store.read(case.path)

        with pytest.raises(CredentialUnavailable) as failure:
            await case.store.read(case.path + "_missing")

        assert CredentialUnavailable.default == str(failure.value)
        shown = "".join(traceback.format_exception(failure.value)) + str(failure.value.detail)
        assert VALUE not in shown
        assert all(hidden not in shown for hidden in case.hidden)

    async def test_a_caller_that_is_cancelled_disturbs_nobody(self, case: Case) -> None:
        cancelled = asyncio.create_task(case.store.read(case.path))
        await asyncio.sleep(0)

        cancelled.cancel()

        assert VALUE == (await case.store.read(case.path)).fields["key"].reveal()

    async def test_check_gives_a_line_for_a_person_without_a_secret(self, case: Case) -> None:
        line = await case.store.check()

        assert line
        assert "\n" not in line
        assert VALUE not in line

    async def test_forget_and_close_are_idempotent(self, case: Case) -> None:
        await case.store.read(case.path)

        for _ in range(2):
            case.store.forget(case.path)
        for _ in range(2):
            await case.store.close()

    async def test_a_store_that_is_down_is_unavailable(self, case: Case) -> None:
        store = case.unreachable
        if store is None:
            return

        with pytest.raises(CredentialUnavailable) as failure:
            await store.read(case.path)
        assert failure.value.detail
        with pytest.raises(CredentialUnavailable):
            await store.check()
        await store.close()

    async def test_a_login_that_is_refused_is_unavailable(self, case: Case) -> None:
        store = case.refused
        if store is None:
            return

        with pytest.raises(CredentialUnavailable) as failure:
            await store.read(case.path)
        assert failure.value.detail
        assert all(hidden not in str(failure.value.detail) for hidden in case.hidden)
        await store.close()
