"""A secret store that hangs delays who needs it, for a bounded time, and nobody else."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.config.secret_stores import FileSecretStore, VaultSecretStore
from agent.errors import CredentialUnavailable
from agent.secret_reference import SecretReference
from agent.secrets.open import open_secret_stores

BOUND = 11.0
SOON = 1.0
CROWD = 40
ROUNDS = 20


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def unreachable() -> Iterator[str]:
    """A server whose queue is full: the kernel answers no further connection at all."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for client in waiting:
            client.close()


async def test_a_crowd_at_a_store_that_hangs_holds_up_no_other(vault, tmp_path, monkeypatch):
    """Neither a file nor another Vault; and each of the crowd is told within its time."""
    monkeypatch.setenv("VAULT_TOKEN", "of-nobody")
    (tmp_path / "key").write_text("in-a-file")
    vault.put("isolation", "in-a-vault")
    well = {"address": vault.server.address, "ca_file": vault.server.ca_file, "cache": 1e-9}
    with silent() as says_nothing, unreachable() as takes_nobody:
        token = {"type": "vault", "auth": {"method": "token"}}
        stores = {
            "silent": VaultSecretStore(address=says_nothing, **token),
            "unreachable": VaultSecretStore(address=takes_nobody, **token),
            "well": VaultSecretStore(type="vault", auth=vault.auth("userpass"), **well),
            "files": FileSecretStore(type="file", root=tmp_path, cache=1e-9),
        }
        resolver = open_secret_stores(stores, on_secret=lambda _: None)
        crowd = [
            asyncio.create_task(_failed(resolver, SecretReference(store=store, path=f"ml/{n}")))
            for store in ("silent", "unreachable")
            for n in range(CROWD)
        ]

        seconds = [
            await _time(resolver, store, path)
            for _ in range(ROUNDS)
            for store, path in (("files", "key"), ("well", "ml/isolation"))
        ]

        assert not any(task.done() for task in crowd)
        assert max(seconds) < SOON
        assert max(await asyncio.gather(*crowd)) < BOUND
        await resolver.close()


async def _failed(resolver, reference) -> float:
    """Seconds after which it is told that there is no such secret now."""
    started = time.monotonic()
    with pytest.raises(CredentialUnavailable):
        await resolver.resolve(reference)
    return time.monotonic() - started


async def _time(resolver, store, path) -> float:
    """Seconds until a value is there."""
    started = time.monotonic()
    await resolver.resolve(SecretReference(store=store, path=path))
    return time.monotonic() - started
