"""Connectors for what AWS guards by a login of its own: EKS clusters and ECR registries.

Settings are not read here.
"""

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from agent.artifact_uri import ArtifactUri
from agent.clouds.aws.containers import Clusters, Registries
from agent.clouds.aws.login import AwsLogin
from agent.clouds.base import SecretSource
from agent.clouds.cache import CredentialCache
from agent.credentials import (
    AwsCredentials,
    Credentials,
    Identity,
    KubernetesCredentials,
    RegistryCredentials,
)
from agent.errors import (
    AccessDenied,
    CredentialUnavailable,
    NotFound,
    StoreUnavailable,
    UsageError,
)
from agent.secret import Secret
from agent.telemetry.logs import get_logger

log = get_logger()

C = TypeVar("C", bound=Credentials)

_TOKEN_LIFE = timedelta(minutes=14)
"""EKS takes a token for 15 minutes after it was signed."""


class IssuedByAws(Generic[C]):
    """Credentials that AWS issues to whoever *login* is, when *ask* is asked for them.

    Where they are refused, those of the login that they were issued to are dropped too.
    """

    def __init__(
        self,
        name: str,
        gives: type[C],
        login: AwsLogin,
        secrets: SecretSource,
        ask: Callable[[AwsCredentials], Awaitable[C]],
    ) -> None:
        self.name = name
        self.gives = gives
        self._login = login
        self._secrets = secrets
        self._ask = ask
        self._issued_to: AwsCredentials | None = None
        self._cache = CredentialCache(name, self._issue)

    async def credentials(self) -> C:
        return await self._cache.get()

    def invalidate(self, used: C) -> None:
        if self._cache.drop(used):
            log.warning("credential.refused", connector=self.name)
            if self._issued_to is not None:
                self._login.invalidate(self._issued_to)

    async def identity(self) -> Identity:
        issued = await self.credentials()
        who = await self._login.identity()
        return Identity(who.name, issued.expires_at)

    async def close(self) -> None:
        await self._cache.close()
        await self._login.close()

    async def _issue(self) -> C:
        try:
            self._issued_to, issued = await self._login.ask(self._ask)
        except (AccessDenied, NotFound, StoreUnavailable) as refusal:
            raise CredentialUnavailable(detail=refusal.detail) from None
        for one in fields(issued):
            value = getattr(issued, one.name)
            if isinstance(value, Secret):
                self._secrets.register(value)
        return issued


def eks_connector(
    name: str, login: AwsLogin, secrets: SecretSource, *, cluster: str
) -> IssuedByAws[KubernetesCredentials]:
    """Return a connector for the EKS cluster that is called *cluster*; does no I/O.

    Its token is a signed question to STS of who we are, which the cluster asks in our place.
    """
    clusters = Clusters(login.sts.endpoint)

    async def ask(key: AwsCredentials) -> KubernetesCredentials:
        found = await clusters.describe(key, cluster)
        expires_at = datetime.now(UTC) + _TOKEN_LIFE
        url = await login.sts.proof(key, {"x-k8s-aws-id": cluster})
        token = base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
        return KubernetesCredentials(
            server=found.server,
            token=Secret(f"k8s-aws-v1.{token}"),
            certificate_authority=Secret(found.certificate_authority),
            expires_at=min(expires_at, key.expires_at or expires_at),
        )

    return IssuedByAws(name, KubernetesCredentials, login, secrets, ask)


def ecr_connector(
    name: str, login: AwsLogin, secrets: SecretSource, *, account: str | None
) -> IssuedByAws[RegistryCredentials]:
    """Return a connector for the registry of *account*, or of the login's own; does no I/O."""
    registries = Registries(login.sts.endpoint)

    async def ask(key: AwsCredentials) -> RegistryCredentials:
        found = await registries.login(key, account)
        return RegistryCredentials(
            registry=found.registry,
            username=Secret(found.username),
            password=found.password,
            expires_at=found.expires_at,
        )

    return IssuedByAws(name, RegistryCredentials, login, secrets, ask)


def readable_of(
    name: str, resource_id: str | None, readable: Sequence[ArtifactUri]
) -> Sequence[ArtifactUri]:
    """Return what the connector *name* is to read: *readable*, or else its *resource_id*.

    Raises:
        UsageError: The resource is no place in S3, or does not hold what is to be read.
    """
    if resource_id is None:
        return readable
    key = f"connectors.{name}.resource_id"
    try:
        resource = ArtifactUri.parse(resource_id)
    except ValueError as error:
        raise UsageError(f"{key}: {error}") from None
    if resource.scheme != "s3":
        raise UsageError(f"{key}: should be s3://bucket or s3://bucket/prefix")
    for place in readable:
        if place.scheme == "s3" and not place.within(resource):
            raise UsageError(f"{key}: the artifact store {place} is not within it")
    return readable or [resource]
