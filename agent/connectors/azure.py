"""Connectors for what a token of Microsoft Entra opens: AKS clusters and container registries.

Settings are not read here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agent.artifact_uri import ArtifactUri
from agent.clouds.azure.blob_service import session_with
from agent.clouds.azure.claims import claims_of, expiry_of, holder
from agent.clouds.azure.kubeconfig import decoded, entra_server, parse_answer
from agent.clouds.azure.tokens import Token, TokenSource
from agent.clouds.base import SecretSource
from agent.clouds.kubernetes.subject import expiry, subject_of
from agent.credentials import KubernetesCredentials, RegistryCredentials
from agent.errors import (
    AccessDenied,
    CredentialUnavailable,
    NotFound,
    StoreUnavailable,
    UsageError,
)
from agent.secret import Secret
from agent.threads import Threads

RESOURCE_MANAGER = "https://management.azure.com"
_VERSION = "2024-05-01"
_DEADLINE = 30.0
_NOBODY = "00000000-0000-0000-0000-000000000000"
"""The user's name that goes with a token, at every container registry."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service is asked."""

    url: str
    ca_file: Path | None = None
    threads: Threads = field(default_factory=lambda: Threads("azure-service", size=2), repr=False)


@dataclass(frozen=True, slots=True)
class ClusterName:
    """Which AKS cluster."""

    subscription: str
    group: str
    name: str

    @property
    def path(self) -> str:
        """Of its credentials at the Resource Manager."""
        parts = {
            "subscriptions": self.subscription,
            "resourceGroups": self.group,
            "providers": "Microsoft.ContainerService",
            "managedClusters": self.name,
        }
        named = "/".join(f"{kind}/{quote(part, safe='')}" for kind, part in parts.items())
        return f"/{named}/listClusterUserCredential?api-version={_VERSION}"


class AksCluster:
    """Credentials of one cluster, as its Resource Manager gives them to the token's holder.

    A cluster that leaves logins to Entra gets a token of Entra; another one has a certificate.
    """

    def __init__(
        self, tokens: TokenSource, secrets: SecretSource, manager: Service, cluster: ClusterName
    ) -> None:
        self._tokens = tokens
        self._secrets = secrets
        self._manager = manager
        self._cluster = cluster

    async def issue(self) -> KubernetesCredentials:
        asking = await self._tokens.token(f"{self._manager.url}/.default")
        header = {"Authorization": f"Bearer {asking.secret.reveal()}"}
        answer = await _asked(self._manager, self._cluster.path, headers=header)
        cluster, user = parse_answer(answer)
        token = await self._token(user)
        certificate = decoded(user, "client-certificate-data") if token is None else None
        key = decoded(user, "client-key-data") if token is None else None
        for secret in filter(None, (token, certificate, key)):
            self._secrets.register(secret)
        return KubernetesCredentials(
            server=str(cluster.get("server")),
            token=token,
            client_certificate=certificate,
            client_key=key,
            certificate_authority=decoded(cluster, "certificate-authority-data"),
            expires_at=expiry(token, certificate),
        )

    async def who(self, credentials: KubernetesCredentials) -> str:
        token = credentials.token
        who = subject_of(credentials) if token is None else holder(token.reveal())
        return f"{who}, at cluster {self._cluster.name}"

    def forget(self) -> None:
        self._tokens.forget()

    async def _token(self, user: Mapping[str, Any]) -> Secret | None:
        if "token" in user:
            return Secret(str(user["token"]))
        server = entra_server(user)
        if server is None:
            return None
        return (await self._tokens.token(f"{server}/.default")).secret


class AcrRegistry:
    """A login to one container registry for the holder of a token of Entra; it lives for hours."""

    def __init__(self, tokens: TokenSource, secrets: SecretSource, registry: Service) -> None:
        self._tokens = tokens
        self._secrets = secrets
        self._registry = registry
        self._host = registry.url.partition("://")[2]
        self._holder = ""

    async def issue(self) -> RegistryCredentials:
        # This token is good for registries and nothing else, wherever it is sent.
        token = await self._tokens.token(f"https://containerregistry.azure.{self._cloud}/.default")
        answer = await _asked(self._registry, "/oauth2/exchange", data=self._form(token))
        issued = answer.get("refresh_token")
        if not isinstance(issued, str):
            raise CredentialUnavailable(detail="the registry answered without a token")
        password = Secret(issued)
        self._secrets.register(password)
        self._holder = holder(token.secret.reveal())
        expires_at = expiry_of(claims_of(issued))
        return RegistryCredentials(self._host, Secret(_NOBODY), password, expires_at)

    async def who(self, _: RegistryCredentials) -> str:
        return self._holder

    def forget(self) -> None:
        self._tokens.forget()

    @property
    def _cloud(self) -> str:
        suffix = self._host.rpartition(".")[2]
        return suffix if suffix in ("cn", "us") else "net"

    def _form(self, token: Token) -> dict[str, str]:
        form = {
            "grant_type": "access_token",
            "service": self._host,
            "access_token": token.secret.reveal(),
        }
        tenant = claims_of(form["access_token"]).get("tid")
        return form | ({"tenant": tenant} if isinstance(tenant, str) else {})


def cluster_name(
    name: str, subscription: str | None, group: str | None, resource_id: str | None
) -> ClusterName:
    """Return which cluster *resource_id* is: GROUP/CLUSTER, or CLUSTER in *group*.

    Raises:
        UsageError: Something is missing.
    """
    found, slash, cluster = (resource_id or "").rpartition("/")
    group = found if slash else group
    if not subscription or not group or not cluster:
        raise UsageError(
            f"connector {name}: a cluster needs subscription_id, and resource_id: GROUP/CLUSTER"
        )
    return ClusterName(subscription, group, cluster)


def registry_host(name: str, resource_id: str | None) -> str:
    """Return the host of the registry that *resource_id* is.

    Raises:
        UsageError: It is no host.
    """
    host = (resource_id or "").removeprefix("https://").removesuffix("/")
    if not host or "/" in host or "@" in host:
        raise UsageError(f"connector {name}: resource_id should be like example.azurecr.io")
    return host


def readable_of(
    name: str, resource_id: str | None, readable: Sequence[ArtifactUri]
) -> Sequence[ArtifactUri]:
    """Return what the connector *name* is to read: *readable*, or else its *resource_id*.

    Raises:
        UsageError: The resource is no place in Blob Storage, or does not hold what is to be read.
    """
    if resource_id is None:
        return readable
    key = f"connector {name}: resource_id"
    try:
        resource = ArtifactUri.parse(resource_id)
    except ValueError as error:
        raise UsageError(f"{key}: {error}") from None
    if resource.scheme not in ("az", "abfs", "abfss"):
        raise UsageError(f"{key}: should be like az://container")
    for place in readable:
        if place.bucket.partition("@")[0] != resource.bucket.partition("@")[0]:
            raise UsageError(f"{key}: the artifact store {place} is not within it")
    return readable or [resource]


async def _asked(service: Service, path: str, **options: Any) -> dict[str, Any]:
    from agent.json_service import ask_json

    def ask() -> dict[str, Any]:
        with closing(session_with(service.ca_file)) as session:
            return ask_json(session, "POST", service.url + path, **options)

    try:
        async with asyncio.timeout(_DEADLINE):
            return await service.threads.run(ask)
    except (AccessDenied, NotFound, StoreUnavailable) as refusal:
        raise CredentialUnavailable(detail=f"{service.url}: {refusal.detail}") from None
    except TimeoutError:
        detail = f"{service.url} did not answer within {_DEADLINE:.0f} s"
        raise CredentialUnavailable(detail=detail) from None
