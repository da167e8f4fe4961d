"""AKS clusters and container registries, as they and the Resource Manager are on the wire."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.credentials import KubernetesCredentials, RegistryCredentials
from agent.errors import CredentialUnavailable, UsageError
from tests.clouds.azure.lab import azure_lab
from tests.doubles.azure import CLIENT, TENANT, Entra
from tests.doubles.azure_services import AKS_SERVER, Registry, ResourceManager, decoded, encoded

EXEC = {
    "apiVersion": "client.authentication.k8s.io/v1beta1",
    "command": "kubelogin",
    "args": ["get-token", "--environment", "AzurePublicCloud", "--server-id", AKS_SERVER],
}


@pytest.fixture
async def lab(azurite, certificate_authority, monkeypatch, tmp_path):
    entra = Entra()
    manager, registry = ResourceManager(entra), Registry(entra)
    services = (manager.answer, registry.answer)
    async with azure_lab(
        azurite, certificate_authority, monkeypatch, tmp_path, *services, entra=entra
    ) as lab:
        lab.manager, lab.registry = manager, registry
        yield lab


def cluster(lab, kind="service-principal", **options):
    given = {
        "resource_type": "kubernetes-cluster",
        "resource_id": "ml/prod",
        "subscription_id": "sub-1",
        "management_endpoint_url": lab.entra.url,
    }
    return lab.connect(kind, **{**given, **options})


def registry(lab, kind="service-principal", **options):
    host = lab.entra.url.removeprefix("https://")
    given = {"resource_type": "docker-registry", "resource_id": host}
    return lab.connect(kind, **{**given, **options})


async def refusal(connector) -> str:
    with pytest.raises(CredentialUnavailable) as failure:
        await connector.credentials()
    return str(failure.value.detail)


class TestCluster:
    """Its credentials are those that the Resource Manager gives, or a token of Entra."""

    @pytest.mark.parametrize(
        "user",
        [
            {"exec": EXEC},
            {"auth-provider": {"name": "azure", "config": {"apiserver-id": AKS_SERVER}}},
        ],
    )
    @pytest.mark.parametrize("kind", ["service-principal", "managed-identity"])
    async def test_with_logins_of_entra_gets_a_token_for_it(self, lab, user, kind):
        lab.manager.user = user
        connector = cluster(lab, kind)

        credentials = await connector.credentials()

        assert isinstance(credentials, KubernetesCredentials)
        assert lab.entra.knows(credentials.token.reveal(), AKS_SERVER)
        assert lab.manager.server == credentials.server
        assert "the CA" == credentials.certificate_authority.reveal()
        assert credentials.expires_at > datetime.now(UTC) + timedelta(minutes=50)
        name = (await connector.identity()).name
        assert f"application {CLIENT}" in name
        assert name.endswith("at cluster prod")

    async def test_with_logins_of_its_own_gets_its_certificate(self, lab):
        lab.manager.user = {
            "client-certificate-data": encoded("a certificate"),
            "client-key-data": encoded("its key"),
        }
        credentials = await cluster(lab).credentials()

        given = (credentials.client_certificate.reveal(), credentials.client_key.reveal())
        assert ("a certificate", "its key") == given
        assert credentials.token is None
        assert {"a certificate", "its key"} <= {secret.reveal() for secret in lab.seen}

    async def test_with_a_token_gets_that(self, lab):
        lab.manager.user = {"token": "the-token-of-the-cluster"}

        credentials = await cluster(lab, resource_group="ml", resource_id="prod").credentials()

        assert "the-token-of-the-cluster" == credentials.token.reveal()

    async def test_that_does_not_exist_is_unavailable(self, lab):
        detail = await refusal(cluster(lab, resource_id="ml/other"))

        assert "answered 404" in detail

    @pytest.mark.parametrize("server", ["http://prod.example.test", "prod.example.test"])
    async def test_without_tls_is_refused(self, lab, server):
        lab.manager.server = server

        assert "without a kubeconfig" in await refusal(cluster(lab))

    async def test_of_a_stored_token_for_something_else_is_refused(self, lab):
        """The token at hand is for storage."""
        assert "answered 401" in await refusal(cluster(lab, "access-token"))

    @pytest.mark.parametrize(
        "missing", [{"subscription_id": None}, {"resource_id": "prod"}, {"resource_id": "ml/"}]
    )
    def test_without_its_full_name_is_refused_at_once(self, lab, missing):
        with pytest.raises(UsageError, match="connector it: a cluster needs subscription_id"):
            cluster(lab, **missing)

    def test_of_an_account_key_is_refused_at_once(self, lab):
        with pytest.raises(UsageError, match="account-key is for a storage account alone"):
            cluster(lab, "account-key")


class TestRegistry:
    """It gives a token of its own for one of Entra that is good for registries only."""

    async def test_gives_a_login_for_hours(self, lab):
        connector = registry(lab)

        credentials = await connector.credentials()

        assert isinstance(credentials, RegistryCredentials)
        assert "00000000-0000-0000-0000-000000000000" == credentials.username.reveal()
        assert credentials.registry == decoded(credentials.password.reveal())["aud"]
        assert credentials.expires_at > datetime.now(UTC) + timedelta(hours=2)
        assert credentials.password in lab.seen
        assert f"application {CLIENT}" in (await connector.identity()).name

    async def test_is_told_the_tenant(self, lab):
        await registry(lab).credentials()

        assert TENANT == lab.registry.forms[0]["tenant"]

    async def test_that_refuses_is_unavailable(self, lab):
        detail = await refusal(registry(lab, "access-token"))

        assert "answered 401" in detail
        assert "access_token" not in detail

    @pytest.mark.parametrize("name", ["example.azurecr.io/repository", "user@example.azurecr.io"])
    def test_that_is_no_host_is_refused_at_once(self, lab, name):
        with pytest.raises(UsageError, match="resource_id should be like"):
            registry(lab, resource_id=name)
