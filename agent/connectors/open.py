"""Builds the configured connectors; the only place of this folder that reads settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, assert_never

from agent.artifact_uri import ArtifactUri
from agent.clouds.base import SecretSource
from agent.config import connectors as config
from agent.config.plugged import plugged
from agent.connectors.base import Connector
from agent.credentials import S3Access
from agent.errors import UsageError

if TYPE_CHECKING:
    from agent.connectors.http import Method as HttpMethod

PLUGINS = "cloud_agent.connectors"

Factory = Callable[[str, Any, SecretSource, Sequence[ArtifactUri]], Connector[Any]]
"""Takes the name, the settings, where secrets are, and all that the credentials need to read."""


def open_connectors(
    connectors: Mapping[str, config.Connector],
    secrets: SecretSource,
    *,
    readable: Mapping[str, Sequence[ArtifactUri]] | None = None,
) -> dict[str, Connector[Any]]:
    """Return a connector for each name; does no I/O and loads no SDK.

    *readable* holds, for a connector's name, the roots that its credentials are to read: they are
    narrowed to them where the cloud can do that.

    Raises:
        UsageError: A type is unknown, or a connector can't be built from its settings.
    """
    roots = readable or {}
    return {
        name: _factory(name, connector.type)(name, connector, secrets, roots.get(name, ()))
        for name, connector in connectors.items()
    }


def _aws(
    name: str, aws: config.AwsConnector, secrets: SecretSource, readable: Sequence[ArtifactUri]
) -> Connector[Any]:
    from agent.clouds.aws.open import open_aws_login
    from agent.connectors.aws import ecr_connector, eks_connector, readable_of

    match aws.resource_type:
        case "aws-generic" | "s3-bucket":
            places = readable_of(name, aws.resource_id, readable)
            s3 = S3Access(aws.addressing, aws.requester_pays)
            return open_aws_login(name, aws, secrets, readable=places, s3=s3)
        case "kubernetes-cluster":
            login = open_aws_login(f"{name}, AWS login", aws, secrets)
            return eks_connector(name, login, secrets, cluster=aws.resource_id or "")
        case "docker-registry":
            login = open_aws_login(f"{name}, AWS login", aws, secrets)
            return ecr_connector(name, login, secrets, account=aws.resource_id)
    assert_never(aws.resource_type)


def _gcp(
    name: str, gcp: config.GcpConnector, secrets: SecretSource, readable: Sequence[ArtifactUri]
) -> Connector[Any]:
    from agent.clouds.gcp.login import Place, token_login
    from agent.clouds.gcp.open import open_gcp_tokens
    from agent.connectors import gcp as made

    match gcp.resource_type:
        case "gcp-generic" | "gcs-bucket":
            boundary = None
            if gcp.narrow:
                boundary = made.reading_boundary(name, readable, gcp.resource_id)
            tokens = open_gcp_tokens(gcp, secrets, boundary=boundary)
            return token_login(name, tokens, Place(gcp.project_id, gcp.endpoint_url, gcp.ca_file))
        case "kubernetes-cluster":
            url = gcp.container_endpoint_url or made.CONTAINER_URL
            cluster = made.Cluster(gcp.resource_id or "", gcp.project_id, url.rstrip("/"))
            return made.cluster_connector(name, open_gcp_tokens(gcp, secrets), cluster)
        case "docker-registry":
            tokens = open_gcp_tokens(gcp, secrets)
            return made.registry_connector(name, tokens, registry=gcp.resource_id or "")
    assert_never(gcp.resource_type)


def _http(
    name: str, http: config.HttpConnector, secrets: SecretSource, _: Sequence[ArtifactUri]
) -> Connector[Any]:
    from agent.connectors.http import HttpLogin

    method = _http_method(http, secrets)
    return HttpLogin(name, method, endpoint_url=http.endpoint_url, ca_file=http.ca_file)


def _http_method(http: config.HttpConnector, secrets: SecretSource) -> "HttpMethod":
    from agent.connectors import http as methods
    from agent.connectors.oauth import Client, ClientCredentials

    # What a method needs is there: the settings have been validated.
    match http:
        case config.HttpConnector(method="token", token=token) if token:
            return methods.StoredToken(secrets, token)
        case config.HttpConnector(method="basic", username=user, password=word) if user and word:
            return methods.StoredPassword(secrets, (user, word))
        case config.HttpConnector(
            method="client-credentials", token_url=url, client_id=client_id, client_secret=secret
        ) if url and client_id and secret:
            client = Client(url, client_id, secret, http.scope, http.audience, http.ca_file)
            return ClientCredentials(secrets, client)
    return methods.NoLogin()


def _zenml(
    name: str,
    zenml: config.ZenmlConnector,
    secrets: SecretSource,
    _readable: Sequence[ArtifactUri],
) -> Connector[Any]:
    from agent.connectors.zenml import ZenmlConnector, ZenmlServer

    given = {
        "api-key": (zenml.api_key,),
        "token": (zenml.token,),
        "password": (zenml.username, zenml.password),
    }[zenml.method]
    references = [reference for reference in given if reference is not None]
    server = ZenmlServer(zenml.endpoint_url, zenml.ca_file)
    return ZenmlConnector(name, server, secrets, zenml.method, references)


def _kubernetes(
    name: str,
    kubernetes: config.KubernetesConnector,
    secrets: SecretSource,
    _readable: Sequence[ArtifactUri],
) -> Connector[Any]:
    from agent.clouds.kubernetes.open import open_kubernetes_login

    return open_kubernetes_login("connector", name, kubernetes, secrets)


def _docker(
    name: str,
    docker: config.DockerConnector,
    secrets: SecretSource,
    _readable: Sequence[ArtifactUri],
) -> Connector[Any]:
    from agent.connectors.docker import DockerConnector

    login = (docker.username, docker.password)
    return DockerConnector(name, docker.registry, login, secrets, ca_file=docker.ca_file)


def _azure(
    name: str, azure: config.AzureConnector, secrets: SecretSource, readable: Sequence[ArtifactUri]
) -> Connector[Any]:
    from agent.clouds.azure.login import AzureLogin
    from agent.clouds.azure.open import open_azure_login, open_tokens
    from agent.clouds.azure.places import Place
    from agent.connectors import azure as services
    from agent.credentials import KubernetesCredentials, RegistryCredentials

    match azure.resource_type:
        case "azure-generic" | "blob-container":
            place = Place(azure.storage_account, azure.endpoint_url, azure.ca_file)
            roots = services.readable_of(name, azure.resource_id, readable)
            return open_azure_login(
                name, azure, secrets, place, readable=roots, narrow=azure.narrow
            )
        case "kubernetes-cluster":
            tokens = open_tokens(f"connector {name}", azure, secrets)
            url = azure.management_endpoint_url or services.RESOURCE_MANAGER
            cluster = services.cluster_name(
                name, azure.subscription_id, azure.resource_group, azure.resource_id
            )
            manager = services.Service(url.rstrip("/"), azure.ca_file)
            aks = services.AksCluster(tokens, secrets, manager, cluster)
            return AzureLogin(name, KubernetesCredentials, aks)
        case "docker-registry":
            tokens = open_tokens(f"connector {name}", azure, secrets)
            host = services.registry_host(name, azure.resource_id)
            registry = services.Service(f"https://{host}", azure.ca_file)
            acr = services.AcrRegistry(tokens, secrets, registry)
            return AzureLogin(name, RegistryCredentials, acr)
    assert_never(azure.resource_type)


FACTORIES: Mapping[str, Factory] = {
    "aws": _aws,
    "azure": _azure,
    "gcp": _gcp,
    "http": _http,
    "zenml": _zenml,
    "kubernetes": _kubernetes,
    "docker": _docker,
}


def _factory(name: str, kind: str) -> Factory:
    if kind in FACTORIES:
        return FACTORIES[kind]
    plugin = plugged(PLUGINS, kind)
    if plugin is None:
        raise UsageError(f"connectors.{name}: there is no type {kind}")
    factory: Factory = plugin.open
    return factory
