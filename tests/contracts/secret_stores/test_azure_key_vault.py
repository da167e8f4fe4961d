"""Azure Key Vault as it is on the wire, with TLS and Entra; there is no server of it to run."""

import json

import pytest

from agent.config.secret_stores import AzureKeyVault, EnvSecretStore
from agent.secrets.open import open_secret_stores
from agent.testing.secret_stores import VALUE, Case, SecretStoreContract
from tests.artifacts.places import closed_port
from tests.doubles.azure import CLIENT, TENANT, Entra, served
from tests.doubles.azure_key_vault import RESOURCE, KeyVault

WRONG = "not-the-secret-of-the-client"


class TestAzureKeyVault(SecretStoreContract):
    """A service principal reads it."""


@pytest.fixture
async def case(certificate_authority, monkeypatch):
    entra = Entra()
    vault = KeyVault(entra)
    monkeypatch.setenv("T_SECRET", entra.secret)
    monkeypatch.setenv("T_WRONG", WRONG)
    with served(entra.answer, vault.answer, authority=certificate_authority) as url:
        entra.url = url

        def configured(vault_url: str, secret: str) -> AzureKeyVault:
            return AzureKeyVault(
                type="azure-key-vault",
                vault_url=vault_url,
                resource=RESOURCE,
                method="service-principal",
                tenant_id=TENANT,
                client_id=CLIENT,
                client_secret=f"secret://env/{secret}",
                authority_host=url,
                ca_file=certificate_authority.ca_file,
            )

        nowhere = f"https://127.0.0.1:{closed_port()}"
        stores = {
            "env": EnvSecretStore(type="env", prefix="T_"),
            "it": configured(url, "SECRET"),
            "unreachable": configured(nowhere, "SECRET"),
            "refused": configured(url, "WRONG"),
        }
        resolver = open_secret_stores(stores, on_secret=lambda _: None)

        def put(value: str) -> None:
            vault.put("ml-s3", json.dumps({"key": value}))

        put(VALUE)
        yield Case(
            resolver._stores["it"].store,
            "ml-s3",
            put,
            hidden=[entra.secret, WRONG],
            unreachable=resolver._stores["unreachable"].store,
            refused=resolver._stores["refused"].store,
            version=lambda: list(vault.secrets["ml-s3"])[-1],
        )
        await resolver.close()
