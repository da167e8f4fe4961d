"""What every secret store promises, asked of each of them against the real thing."""

import asyncio
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from agent.config import settings
from agent.errors import CredentialUnavailable
from agent.secrets.base import SecretStore
from agent.secrets.open import open_secret_stores
from tests.servers.openbao import ROOT_TOKEN, start_openbao

VALUE = "value-of-a-test-secret"


@dataclass
class Case:
    """A store, the path of a secret with the field ``key``, and a way to change it."""

    store: SecretStore
    path: str
    put: Callable[[str], object]


@pytest.fixture(scope="session")
def vault(tmp_path_factory):
    server = start_openbao(tmp_path_factory.mktemp("openbao"))
    client = server.client()
    client.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
    yield client, server.address
    client.adapter.close()
    server.stop()


@pytest.fixture(params=["vault-kv1", "vault-kv2", "file", "env"])
async def case(request, tmp_path, monkeypatch):
    if request.param.startswith("vault"):
        client, address = request.getfixturevalue("vault")
        monkeypatch.setenv("VAULT_TOKEN", ROOT_TOKEN)
        configured, path, put = _vault(request.param, client, address)
    elif request.param == "file":
        configured, path = settings.FileSecretStore(type="file", root=tmp_path), "s3"
        put = lambda value: (tmp_path / "s3").write_text(f'{{"key": "{value}"}}')  # noqa: E731
    else:
        configured, path = settings.EnvSecretStore(type="env", prefix="ML_"), "S3"
        put = lambda value: monkeypatch.setenv("ML_S3", f'{{"key": "{value}"}}')  # noqa: E731
    resolver = open_secret_stores({"it": configured}, on_secret=lambda _: None)
    put(VALUE)
    yield Case(resolver._stores["it"].store, path, put)
    await resolver.close()


def _vault(kind, client, address):
    path, old = f"ml/{uuid.uuid4()}", kind == "vault-kv1"
    mount = "kv1" if old else "secret"
    kv = client.secrets.kv.v1 if old else client.secrets.kv.v2

    def put(value: str) -> None:
        kv.create_or_update_secret(path, {"key": value}, mount_point=mount)

    auth = {"method": "token"}
    configured = settings.VaultSecretStore(type="vault", address=address, mount=mount, auth=auth)
    return configured, path, put


class TestSecretStore:
    async def test_a_field_that_is_there_is_read(self, case):
        assert VALUE == (await case.store.read(case.path)).fields["key"].reveal()

    async def test_a_path_that_is_missing_is_unavailable(self, case):
        with pytest.raises(CredentialUnavailable) as failure:
            await case.store.read(case.path + "_missing")

        assert failure.value.detail

    async def test_a_field_that_is_missing_is_not_among_the_fields(self, case):
        assert "missing" not in (await case.store.read(case.path)).fields

    async def test_each_reading_sees_what_stands_there_now(self, case):
        await case.store.read(case.path)

        case.put("rotated")

        assert "rotated" == (await case.store.read(case.path)).fields["key"].reveal()

    async def test_concurrent_readings_do_not_disturb_each_other(self, case):
        values = await asyncio.gather(*(case.store.read(case.path) for _ in range(40)))

        assert [VALUE] * 40 == [value.fields["key"].reveal() for value in values]

    async def test_a_value_is_in_no_repr(self, case):
        value = await case.store.read(case.path)

        assert VALUE not in f"{value!r} {value} {value.fields}"

    async def test_a_failure_shows_neither_value_nor_place_to_the_cloud(self, case):
        await case.store.read(case.path)

        with pytest.raises(CredentialUnavailable) as failure:
            await case.store.read(case.path + "_missing")

        assert CredentialUnavailable.default == str(failure.value)
        shown = "".join(traceback.format_exception(failure.value)) + str(failure.value.detail)
        assert VALUE not in shown
        assert ROOT_TOKEN not in shown

    async def test_a_caller_that_is_cancelled_disturbs_nobody(self, case):
        cancelled = asyncio.create_task(case.store.read(case.path))
        await asyncio.sleep(0)

        cancelled.cancel()

        assert VALUE == (await case.store.read(case.path)).fields["key"].reveal()

    async def test_check_gives_a_line_for_a_person_without_a_secret(self, case):
        line = await case.store.check()

        assert line
        assert "\n" not in line
        assert VALUE not in line

    async def test_forget_and_close_are_idempotent(self, case):
        await case.store.read(case.path)

        for _ in range(2):
            case.store.forget(case.path)
        for _ in range(2):
            await case.store.close()
