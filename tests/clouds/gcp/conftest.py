"""Connectors to doubles of Google's services."""

import pytest

from agent.artifact_uri import ArtifactUri
from agent.config.connectors import GcpConnector
from agent.connectors.open import open_connectors
from agent.secrets.resolver import OpenStore, SecretResolver
from tests.doubles.gcp import running_google
from tests.doubles.secret_stores import MemorySecretStore


@pytest.fixture
def google():
    with running_google() as google:
        yield google


@pytest.fixture
def store(google):
    return MemorySecretStore({"gcp": {"json": google.service_account(), "token": google.given()}})


@pytest.fixture
def seen():
    return []


@pytest.fixture
async def connect(store, seen, google):
    """Opens one connector with the method and settings that are given."""
    stores = {"memory": OpenStore(store, "env", 300.0)}
    secrets = SecretResolver(stores, on_secret=seen.append, on_use=lambda _: None)
    opened = []

    def open_(method="service-account", *, readable=(), **options):
        given = {
            "sts_endpoint_url": google.url,
            "iam_endpoint_url": google.url,
            "tokeninfo_endpoint_url": google.url,
            "container_endpoint_url": google.url,
        }
        needs = {"oauth2-token": "token", "impersonation": "service_account_json"}
        key = needs.get(method, f"{method.replace('-', '_')}_json")
        if method != "implicit":
            given[key] = f"secret://memory/gcp#{'token' if key == 'token' else 'json'}"
        gcp = GcpConnector(type="gcp", method=method, **given | options)
        roots = {"ml": [ArtifactUri.parse(root) for root in readable]}
        opened.extend(open_connectors({"ml": gcp}, secrets, readable=roots).values())
        return opened[-1]

    yield open_
    for connector in opened:
        await connector.close()
    await secrets.close()
