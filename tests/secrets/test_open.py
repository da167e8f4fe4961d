"""What is configured is what is opened."""

import pytest

from agent.config.secret_stores import EnvSecretStore, FileSecretStore, VaultSecretStore
from agent.errors import UsageError
from agent.secret_reference import SecretReference
from agent.secrets.open import open_secret_stores


def _open(**stores):
    return open_secret_stores(stores, on_secret=lambda _: None)


async def test_references_find_their_store(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("of-file\n")
    monkeypatch.setenv("ML_KEY", "of-env")
    resolver = _open(
        files=FileSecretStore(type="file", root=tmp_path),
        env=EnvSecretStore(type="env", prefix="ML_"),
    )

    found = await resolver.resolve_together(
        [SecretReference(store="files", path="key"), SecretReference(store="env", path="KEY")]
    )

    assert ["of-file", "of-env"] == [secret.reveal() for secret in found.secrets]
    await resolver.close()


def test_an_approle_without_a_role_is_a_mistake_of_the_configuration(tmp_path):
    auth = {"method": "approle", "secret_id_file": tmp_path / "secret-id"}
    vault = VaultSecretStore(type="vault", address="https://vault:8200", auth=auth)

    with pytest.raises(UsageError, match=r"secret_stores\.vault\.auth: set role_id"):
        _open(vault=vault)
