"""What EKS and ECR tell of clusters and registries. Credentials for them are not made here."""

import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.clouds.aws.boto import Endpoint, Service
from agent.credentials import AwsCredentials
from agent.errors import StoreUnavailable
from agent.secret import Secret

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_eks import EKSClient


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a cluster's API is, and the PEM text of the CA that signed its certificate."""

    server: str
    certificate_authority: str


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """A registry's host, and who to be there until *expires_at*."""

    registry: str
    username: str
    password: Secret = field(repr=False)
    expires_at: datetime


class Clusters:
    """The clusters of an account; questions raise what those of a `Service` do."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._service: Service[EKSClient] = Service("eks", endpoint, url=endpoint.url)

    async def describe(self, key: AwsCredentials, name: str) -> Cluster:
        """Return the cluster *name*; StoreUnavailable also while it has no address."""
        answer = await self._service.ask(key, lambda eks: eks.describe_cluster(name=name))
        cluster = answer["cluster"]
        server = cluster.get("endpoint")
        authority = cluster.get("certificateAuthority", {}).get("data")
        if not server or not authority:
            status = cluster.get("status", "unknown")
            raise StoreUnavailable(detail=f"cluster {name} has no address; it is {status}")
        return Cluster(server.rstrip("/"), _decoded(authority))


class Registries:
    """The registries that an account may use; questions raise what those of a `Service` do."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._service: Service[ECRClient] = Service("ecr", endpoint, url=endpoint.url)

    async def login(self, key: AwsCredentials, account: str | None) -> RegistryLogin:
        """Return who to be at the registry of *account*, by default that of *key*."""
        wanted = {"registryIds": [account]} if account else {}
        answer = await self._service.ask(key, lambda ecr: ecr.get_authorization_token(**wanted))
        issued = answer["authorizationData"][0]
        username, _, password = _decoded(issued["authorizationToken"]).partition(":")
        return RegistryLogin(
            registry=issued["proxyEndpoint"].removeprefix("https://"),
            username=username,
            password=Secret(password),
            expires_at=issued["expiresAt"].astimezone(UTC),
        )


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise StoreUnavailable(detail="AWS answered what is no text in base64") from None
