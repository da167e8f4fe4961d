"""Connectors: how a secret becomes short-lived credentials for one cloud or service."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agent.config.clouds import AwsLogin, AzureLogin, GcpLogin, KubernetesLogin
from agent.config.parts import Part, Reference, require_safe_url
from agent.config.plugged import or_plugged


def _require_resource(resource_type: str, resource_id: str | None, *, named: Sequence[str]) -> None:
    if resource_type in named and resource_id is None:
        raise ValueError(f"resource_id: is required with resource_type: {resource_type}")


class AwsConnector(AwsLogin):
    """Credentials for AWS and S3-compatible stores, for EKS clusters and for ECR."""

    type: Literal["aws"]
    resource_type: Literal["aws-generic", "s3-bucket", "kubernetes-cluster", "docker-registry"] = (
        "aws-generic"
    )
    """What the credentials are for; a cluster's are for Kubernetes, a registry's for Docker."""
    resource_id: str | None = None
    """As s3://bucket/prefix, the EKS cluster's name, or the id of the registry's account. Default:
    the artifact stores that use this connector; the registry of the own account."""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Where S3 finds a bucket's name: ``path`` is https://HOST/BUCKET/KEY, ``virtual`` is
    https://BUCKET.HOST/KEY; ``auto`` is path with an `endpoint_url` or for a bucket with a dot,
    else virtual."""
    requester_pays: bool = False
    """Agree that the account of these credentials pays for reading buckets whose owners want
    that."""
    allow_plaintext: bool = False
    """Permit an `endpoint_url` of http:// to an address that is not loopback: whoever is on the
    way then reads the artifacts, and the credentials that STS issues."""

    @model_validator(mode="after")
    def _end_points_are_safe(self) -> Self:
        for key in ("endpoint_url", "sts_endpoint_url"):
            require_safe_url(key, getattr(self, key), allow_plaintext=self.allow_plaintext)
        return self

    @model_validator(mode="after")
    def _resource_has_an_id(self) -> Self:
        _require_resource(self.resource_type, self.resource_id, named=["kubernetes-cluster"])
        return self


class GcpConnector(GcpLogin):
    """Credentials for Google Cloud Storage, GKE clusters and Artifact Registry."""

    type: Literal["gcp"]
    resource_type: Literal["gcp-generic", "gcs-bucket", "kubernetes-cluster", "docker-registry"] = (
        "gcp-generic"
    )
    """What the credentials are for; a cluster's are for Kubernetes, a registry's for Docker."""
    resource_id: str | None = None
    """As gs://bucket/prefix, LOCATION/CLUSTER, or the registry as europe-docker.pkg.dev. Default:
    the artifact stores that use this connector."""
    endpoint_url: str | None = None
    """Of a service that speaks like Cloud Storage; default: Google's."""
    container_endpoint_url: str | None = None
    """Of the GKE API; default: Google's."""
    narrow: bool = True
    """Exchange tokens for such that read only the artifact stores that use this connector. A token
    that can't be narrowed is not used."""

    @model_validator(mode="after")
    def _resource_has_an_id(self) -> Self:
        named = ["kubernetes-cluster", "docker-registry"]
        _require_resource(self.resource_type, self.resource_id, named=named)
        for key in ("endpoint_url", "container_endpoint_url"):
            require_safe_url(key, getattr(self, key))
        return self


class AzureConnector(AzureLogin):
    """Credentials for Azure Blob Storage, AKS clusters and Azure Container Registry."""

    type: Literal["azure"]
    resource_type: Literal[
        "azure-generic", "blob-container", "kubernetes-cluster", "docker-registry"
    ] = "azure-generic"
    """What the credentials are for; a cluster's are for Kubernetes, a registry's for Docker."""
    resource_id: str | None = None
    """As az://container, RESOURCE_GROUP/CLUSTER, or the registry as example.azurecr.io. Default:
    the artifact stores that use this connector."""
    subscription_id: str | None = None
    """Of the cluster."""
    resource_group: str | None = None
    """Of the cluster, where `resource_id` does not name it."""
    storage_account: str | None = None
    """Required for az://; an abfss:// address names its account itself."""
    endpoint_url: str | None = None
    """Of the account's blobs; default: https://ACCOUNT.blob.core.windows.net."""
    management_endpoint_url: str | None = None
    """Of Azure Resource Manager; default: Azure's public one."""
    narrow: bool = True
    """Exchange tokens of Microsoft Entra for such that read only the container that this connector
    is used for; the identity needs the role Storage Blob Delegator, or one that includes it."""

    @model_validator(mode="after")
    def _resource_has_an_id(self) -> Self:
        named = ["kubernetes-cluster", "docker-registry"]
        _require_resource(self.resource_type, self.resource_id, named=named)
        for key in ("endpoint_url", "management_endpoint_url"):
            require_safe_url(key, getattr(self, key))
        return self


class KubernetesConnector(KubernetesLogin):
    """Credentials for a Kubernetes cluster."""

    type: Literal["kubernetes"]
    cluster_name: str | None = None
    """For whoever reads this file."""


class DockerConnector(Part):
    """Credentials for a registry of container images."""

    type: Literal["docker"]
    method: Literal["password"] = "password"
    registry: str = "https://index.docker.io/v1/"
    """A host, as registry.example.com:5000, or its URL; default: Docker Hub."""
    username: Reference
    password: Reference
    """The password, or an access token."""
    ca_file: Path | None = None
    """PEM file with the private CA that signed the registry's certificate."""

    @model_validator(mode="after")
    def _registry_is_safe(self) -> Self:
        url = self.registry if "://" in self.registry else f"https://{self.registry}"
        require_safe_url("registry", url)
        return self


class HttpConnector(Part):
    """An ``Authorization`` header for a service that speaks HTTP, such as an MLflow server."""

    type: Literal["http"]
    method: Literal["none", "token", "basic", "client-credentials"] = "none"
    """``client-credentials`` is OAuth 2: `token_url` issues a token for the client."""
    endpoint_url: str | None = None
    """Of the service; required for mlflow://, of no use for https://."""
    token: Reference | None = None
    """For `token`."""
    username: Reference | None = None
    """For `basic`."""
    password: Reference | None = None
    """For `basic`."""
    token_url: str | None = None
    """Where the token is asked for, for `client-credentials`."""
    client_id: str | None = None
    """For `client-credentials`."""
    client_secret: Reference | None = None
    """For `client-credentials`; sent in a header."""
    scope: str | None = None
    """What the token is to be good for, for `client-credentials`."""
    audience: str | None = None
    """Whom the token is for, where `token_url` wants that, for `client-credentials`."""
    ca_file: Path | None = None
    """PEM file with the private CA that signed the service's certificate."""
    allow_plaintext: bool = False
    """Permit http:// to an address that is not loopback."""

    @model_validator(mode="after")
    def _method_has_its_keys(self) -> Self:
        needed = {"token": ("token",), "basic": ("username", "password"), "none": (),
                  "client-credentials": ("token_url", "client_id", "client_secret")}  # fmt: skip
        missing = [key for key in needed[self.method] if getattr(self, key) is None]
        if missing:
            raise ValueError(f"method {self.method} needs {', '.join(missing)}")
        for key in ("endpoint_url", "token_url"):
            require_safe_url(key, getattr(self, key), allow_plaintext=self.allow_plaintext)
        return self


class ZenmlConnector(Part):
    """Login to a ZenML server on the customer's side."""

    type: Literal["zenml"]
    endpoint_url: str
    """Of the ZenML server."""
    method: Literal["api-key", "token", "password"] = "api-key"
    """``api-key`` is that of a service account."""
    api_key: Reference | None = None
    """For `api-key`."""
    token: Reference | None = None
    """For `token`."""
    username: Reference | None = None
    """For `password`."""
    password: Reference | None = None
    """For `password`."""
    ca_file: Path | None = None
    """PEM file with the private CA that signed the server's certificate."""
    allow_plaintext: bool = False
    """Permit http:// to an address that is not loopback."""

    @model_validator(mode="after")
    def _method_has_its_keys(self) -> Self:
        needed = {"api-key": ("api_key",), "token": ("token",),
                  "password": ("username", "password")}[self.method]  # fmt: skip
        missing = [key for key in needed if getattr(self, key) is None]
        if missing:
            raise ValueError(f"method {self.method} needs {', '.join(missing)}")
        require_safe_url("endpoint_url", self.endpoint_url, allow_plaintext=self.allow_plaintext)
        return self


Connector = Annotated[
    AwsConnector
    | GcpConnector
    | AzureConnector
    | KubernetesConnector
    | DockerConnector
    | HttpConnector
    | ZenmlConnector,
    Field(discriminator="type"),
    or_plugged("cloud_agent.connectors", "type"),
]
