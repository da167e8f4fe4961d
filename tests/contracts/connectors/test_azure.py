"""What every connector promises, asked of each method against a real server of Blob Storage.

Entra and the metadata services, for which there is no server, are doubles.
"""

from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from agent.artifact_uri import ArtifactUri
from agent.artifacts.azure.store import AzureArtifactStore
from agent.config.connectors import AzureConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.open import open_connectors
from agent.credentials import AzureCredentials
from agent.secrets.open import open_secret_stores
from agent.testing.artifact_stores import BLOCK
from agent.testing.connectors import Case, ConnectorContract, GivenConnector
from tests.doubles.azure import CLIENT, OBJECT, TENANT, Entra, served
from tests.servers.azurite import ACCOUNT, CONTAINER, KEY, Azurite

ROOT = ArtifactUri.parse(f"az://{CONTAINER}/connectors")
ENTRA = {"tenant_id": TENANT, "client_id": CLIENT}
STORAGE = "https://storage.azure.com"

# The method, what else is configured, and what the identity's name holds.
METHODS = {
    "account-key": ({"account_key": "secret://env/KEY"}, ACCOUNT),
    "sas-token": ({"sas_token": "secret://env/SAS"}, "permissions rl"),
    "connection-string with a key": ({"connection_string": "secret://env/STRING"}, ACCOUNT),
    "connection-string with a SAS": ({"connection_string": "secret://env/STRING"}, "permissions"),
    "access-token": ({"token": "secret://env/TOKEN"}, OBJECT),
    "service-principal": ({**ENTRA, "client_secret": "secret://env/SECRET"}, OBJECT),
    "workload-identity": (ENTRA, OBJECT),
    "managed-identity": ({}, OBJECT),
    "managed-identity of an app service": ({"client_id": CLIENT}, OBJECT),
    "implicit by environment": ({}, OBJECT),
    "implicit by managed identity": ({}, OBJECT),
    "service-principal as it is": (
        {**ENTRA, "client_secret": "secret://env/SECRET", "narrow": False},
        f"application {CLIENT}",
    ),
}


@pytest.fixture
def entra():
    return Entra()


@pytest.fixture
def secrets():
    seen = []
    resolver = open_secret_stores(
        {"env": EnvSecretStore(type="env", prefix="T_")}, on_secret=seen.append
    )
    resolver.seen = seen
    return resolver


@pytest.fixture
async def connect(azurite, certificate_authority, entra, secrets, monkeypatch, tmp_path):
    """Opens a connector by its method; `METHODS` has the methods."""
    opened = []
    with (
        served(entra.answer, authority=certificate_authority) as url,
        served(entra.answer, authority=None) as metadata,
    ):
        entra.url = url
        _prepare(monkeypatch, azurite, entra, metadata)
        assertion = tmp_path / "assertion"
        assertion.write_text(entra.assertion)

        def open_(kind, **options):
            method, _, variant = kind.partition(" ")
            _prepare_variant(monkeypatch, azurite, entra, variant)
            given = {"storage_account": ACCOUNT, "endpoint_url": azurite.endpoint_url}
            given |= {"ca_file": azurite.ca_file, "authority_host": url}
            given |= METHODS[kind][0] | options
            if method == "workload-identity":
                given["token_file"] = assertion
            azure = AzureConnector(type="azure", method=method, **given)
            opened.extend(open_connectors({"it": azure}, secrets, readable={"it": [ROOT]}).values())
            return opened[-1]

        yield open_
        for connector in opened:
            await connector.close()
        await secrets.close()


def _prepare(monkeypatch, azurite: Azurite, entra: Entra, metadata: str) -> None:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "AZURE_CLIENT_ID",
                 "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE",
                 "AZURE_TOKEN_CREDENTIALS"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", metadata)
    monkeypatch.setenv("T_KEY", KEY.reveal())
    monkeypatch.setenv("T_SAS", sas())
    monkeypatch.setenv("T_TOKEN", entra.token(STORAGE))
    monkeypatch.setenv("T_SECRET", entra.secret)


def _prepare_variant(monkeypatch, azurite: Azurite, entra: Entra, variant: str) -> None:
    place = f"BlobEndpoint={azurite.endpoint_url};AccountName={ACCOUNT}"
    if variant == "with a key":
        monkeypatch.setenv("T_STRING", f"{place};AccountKey={KEY.reveal()}")
    elif variant == "with a SAS":
        monkeypatch.setenv("T_STRING", f"{place};SharedAccessSignature={sas()}")
    elif variant == "by environment":
        monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
        monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
        monkeypatch.setenv("AZURE_CLIENT_SECRET", entra.secret)
    elif variant == "of an app service":
        metadata = f"{_environment('AZURE_POD_IDENTITY_AUTHORITY_HOST')}/msi/token"
        monkeypatch.setenv("IDENTITY_ENDPOINT", metadata)
        monkeypatch.setenv("IDENTITY_HEADER", entra.identity_header)


def _environment(name: str) -> str:
    import os

    return os.environ[name]


def sas(*, container: str = CONTAINER, life: float = 3600, permissions: str = "rl") -> str:
    """Return a SAS for *container*, signed with the account's key."""
    return generate_container_sas(
        ACCOUNT,
        container,
        KEY.reveal(),
        permission=ContainerSasPermissions.from_string(permissions),
        expiry=datetime.now(UTC) + timedelta(seconds=life),
    )


async def _use(credentials: AzureCredentials) -> None:
    """List the container at the place that the credentials name."""
    connector = GivenConnector(credentials)
    store = AzureArtifactStore("it", ROOT, connector, block_bytes=lambda: BLOCK)
    try:
        await store.check()
    finally:
        await store.close()


class TestAzure(ConnectorContract):
    """Each method, against a real server."""

    @pytest.fixture(params=METHODS)
    def case(self, request, connect, secrets):
        who = METHODS[request.param][1]
        return Case(connect(request.param), _use, secrets.seen, who)
