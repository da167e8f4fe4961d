"""Logins to Azure by every method, to a real server of Blob Storage and doubles of the rest."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from agent.artifact_uri import ArtifactUri
from agent.artifacts.azure.store import AzureArtifactStore
from agent.config.connectors import AzureConnector
from agent.config.secret_stores import EnvSecretStore
from agent.connectors.base import Connector
from agent.connectors.open import open_connectors
from agent.credentials import AzureCredentials
from agent.secret import Secret
from agent.secrets.open import open_secret_stores
from agent.testing.artifact_stores import BLOCK
from agent.testing.connectors import GivenConnector
from tests.doubles.azure import CLIENT, OBJECT, TENANT, Entra, Service, served
from tests.servers.azurite import ACCOUNT, CONTAINER, KEY, Azurite
from tests.servers.tls import CertificateAuthority

ROOT = ArtifactUri.parse(f"az://{CONTAINER}/connectors")
STORAGE = "https://storage.azure.com"
ENTRA = {"tenant_id": TENANT, "client_id": CLIENT}
PRINCIPAL = {**ENTRA, "client_secret": "secret://env/SECRET"}

METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "account-key": ({"account_key": "secret://env/KEY"}, ACCOUNT),
    "sas-token": ({"sas_token": "secret://env/SAS"}, "permissions rl"),
    "connection-string with a key": ({"connection_string": "secret://env/STRING"}, ACCOUNT),
    "connection-string with a SAS": ({"connection_string": "secret://env/STRING"}, "permissions"),
    "access-token": ({"token": "secret://env/TOKEN"}, OBJECT),
    "service-principal": (PRINCIPAL, OBJECT),
    "service-principal as it is": ({**PRINCIPAL, "narrow": False}, f"application {CLIENT}"),
    "workload-identity": (ENTRA, OBJECT),
    "managed-identity": ({}, OBJECT),
    "managed-identity of an app service": ({"client_id": CLIENT}, OBJECT),
    "implicit by environment": ({}, OBJECT),
    "implicit by managed identity": ({}, OBJECT),
}
"""The first word is the method; what else is configured, and what the identity's name holds."""

_ENVIRONMENT = (
    "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST", "AZURE_TOKEN_CREDENTIALS", "IDENTITY_ENDPOINT", "IDENTITY_HEADER",
    "MSI_ENDPOINT", "MSI_SECRET",
)  # fmt: skip


class AzureLab:
    """Opens connectors whose secrets are environment variables that begin with ``T_``."""

    def __init__(
        self, azurite: Azurite, entra: Entra, metadata: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.azurite = azurite
        self.entra = entra
        self.seen: list[Secret] = []
        self.secrets = open_secret_stores(
            {"env": EnvSecretStore(type="env", prefix="T_")}, on_secret=self.seen.append
        )
        self.opened: list[Connector[Any]] = []
        self.assertion = Path()
        self._metadata = metadata
        self._monkeypatch = monkeypatch

    def give(self, name: str, value: str) -> None:
        """Set the environment variable *name*."""
        self._monkeypatch.setenv(name, value)

    def connect(
        self, kind: str, *, readable: Sequence[ArtifactUri] = (ROOT,), **options: Any
    ) -> Connector[Any]:
        """Open the connector that `METHODS` calls *kind*; *options* are of its configuration."""
        method, _, variant = kind.partition(" ")
        self._prepare(variant)
        given: dict[str, Any] = {
            "storage_account": ACCOUNT,
            "endpoint_url": self.azurite.endpoint_url,
            "ca_file": self.azurite.ca_file,
            "authority_host": self.entra.url,
            **METHODS[kind][0],
            **options,
        }
        if method == "workload-identity":
            given["token_file"] = self.assertion
        azure = AzureConnector(type="azure", method=method, **given)
        opened = open_connectors({"it": azure}, self.secrets, readable={"it": readable})
        self.opened += opened.values()
        return opened["it"]

    def _prepare(self, variant: str) -> None:
        place = f"BlobEndpoint={self.azurite.endpoint_url};AccountName={ACCOUNT}"
        if variant == "with a key":
            self.give("T_STRING", f"{place};AccountKey={KEY.reveal()}")
        elif variant == "with a SAS":
            self.give("T_STRING", f"{place};SharedAccessSignature={sas()}")
        elif variant == "by environment":
            for name, value in (("ID", CLIENT), ("SECRET", self.entra.secret)):
                self.give(f"AZURE_CLIENT_{name}", value)
            self.give("AZURE_TENANT_ID", TENANT)
        elif variant == "of an app service":
            self.give("IDENTITY_ENDPOINT", f"{self._metadata}/msi/token")
            self.give("IDENTITY_HEADER", self.entra.identity_header)


@asynccontextmanager
async def azure_lab(
    azurite: Azurite,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    *others: Service,
    entra: Entra | None = None,
) -> AsyncIterator[AzureLab]:
    """Serve Entra, a metadata service and *others*; close what was opened."""
    entra = entra or Entra()
    with (
        served(entra.answer, *others, authority=authority) as entra.url,
        served(entra.answer, authority=None) as metadata,
    ):
        lab = AzureLab(azurite, entra, metadata, monkeypatch)
        for name in _ENVIRONMENT:
            monkeypatch.delenv(name, raising=False)
        lab.give("AZURE_POD_IDENTITY_AUTHORITY_HOST", metadata)
        lab.give("T_KEY", KEY.reveal())
        lab.give("T_SAS", sas())
        lab.give("T_TOKEN", entra.token(STORAGE))
        lab.give("T_SECRET", entra.secret)
        lab.assertion = directory / "assertion"
        lab.assertion.write_text(entra.assertion)
        yield lab
        for connector in lab.opened:
            await connector.close()
        await lab.secrets.close()


def sas(*, container: str = CONTAINER, life: float = 3600, permissions: str = "rl") -> str:
    """Return a SAS for *container*, signed with the account's key."""
    return generate_container_sas(
        ACCOUNT,
        container,
        KEY.reveal(),
        permission=ContainerSasPermissions.from_string(permissions),
        expiry=datetime.now(UTC) + timedelta(seconds=life),
    )


async def use(credentials: AzureCredentials, container: str = CONTAINER) -> None:
    """List *container* at the place that *credentials* name; raise what the store raises."""
    root = ArtifactUri.parse(f"az://{container}")
    connector = GivenConnector(credentials)
    store = AzureArtifactStore("it", root, connector, block_bytes=lambda: BLOCK)
    try:
        await store.check()
    finally:
        await store.close()
