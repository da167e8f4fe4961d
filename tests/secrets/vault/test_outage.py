"""Down, sealed or not to be trusted: a bounded number of tries, and back without a restart."""

import time

import pytest

from agent.errors import CredentialUnavailable
from agent.secrets.vault.server import VaultServer
from agent.secrets.vault.store import VaultSecretStore
from agent.secrets.vault.token import TokenLogin
from tests.servers.processes import free_port
from tests.servers.tls import CertificateAuthority

BOUND = 11.0


@pytest.fixture
def admin(tls_openbao, monkeypatch):
    client = tls_openbao.client()
    client.secrets.kv.v2.create_or_update_secret("ml/s3", {"key": "first"})
    monkeypatch.setenv("VAULT_TOKEN", client.token)
    yield client
    client.adapter.close()


async def _value(store) -> str:
    return (await store.read("ml/s3")).fields["key"].reveal()


async def _fails_in_time(store) -> str:
    started = time.monotonic()
    with pytest.raises(CredentialUnavailable) as failure:
        await store.read("ml/s3")
    assert time.monotonic() - started < BOUND
    return failure.value.detail


async def test_sealed_is_final_in_time_and_over_after_the_unsealing(open_store, tls_openbao, admin):
    store = open_store(server=tls_openbao)
    assert "first" == await _value(store)

    admin.sys.seal()
    assert "sealed" in (await _fails_in_time(store)).lower()

    tls_openbao.stop()
    assert "did not answer" in await _fails_in_time(store)

    tls_openbao.start()
    assert "first" == await _value(store)


async def test_nobody_listens_is_final_in_time(open_store):
    class Nowhere:
        address = f"http://127.0.0.1:{free_port()}"
        ca_file = None

    assert "did not answer" in await _fails_in_time(open_store(server=Nowhere))


async def test_a_server_that_accepts_and_says_nothing_is_final_in_time(open_store):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:

        class Silent:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            ca_file = None

        assert "did not answer" in await _fails_in_time(open_store(server=Silent))


async def test_only_the_configured_ca_is_trusted(tls_openbao, admin, tmp_path, monkeypatch):
    """REQUESTS_CA_BUNDLE, which requests prefers to a session's own, has no say either way."""
    other = CertificateAuthority(tmp_path, name="Other CA")

    def store(ca_file) -> VaultSecretStore:
        server = VaultServer(tls_openbao.address, ca_file=ca_file, namespace=None)
        login = TokenLogin(None)
        return VaultSecretStore(
            server, login, mount="secret", engine="kv2", on_secret=lambda _: None
        )

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls_openbao.ca_file))
    wrong = store(other.ca_file)
    assert "untrusted certificate" in await _fails_in_time(wrong)
    await wrong.close()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.ca_file))
    right = store(tls_openbao.ca_file)
    assert "first" == await _value(right)
    await right.close()


async def test_a_ca_file_that_is_missing_is_named_as_the_cause(tls_openbao, admin, tmp_path):
    server = VaultServer(tls_openbao.address, ca_file=tmp_path / "missing", namespace=None)
    login = TokenLogin(None)
    store = VaultSecretStore(server, login, mount="secret", engine="kv2", on_secret=lambda _: None)

    assert "ca_file" in await _fails_in_time(store)
    await store.close()


async def test_a_rotated_ca_file_is_seen_without_a_restart(tls_openbao, admin, tmp_path):
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(CertificateAuthority(tmp_path, name="Old CA").ca_file.read_bytes())
    server = VaultServer(tls_openbao.address, ca_file=ca_file, namespace=None)
    login = TokenLogin(None)
    store = VaultSecretStore(server, login, mount="secret", engine="kv2", on_secret=lambda _: None)
    assert "untrusted certificate" in await _fails_in_time(store)

    ca_file.write_bytes(tls_openbao.ca_file.read_bytes())

    assert "first" == await _value(store)
    await store.close()
