"""What Google's tokens are good for: buckets, a cluster, a registry.

Issuing them is the login's part.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from agent.artifact_uri import ArtifactUri
from agent.clouds.gcp.boundary import MOST_RULES, boundary, outermost
from agent.clouds.gcp.login import GcpLogin, Tokens
from agent.clouds.gcp.token import Token
from agent.credentials import KubernetesCredentials, RegistryCredentials
from agent.errors import CredentialUnavailable, StoreUnavailable, UsageError
from agent.secret import Secret
from agent.telemetry.logs import get_logger

CONTAINER_URL = "https://container.googleapis.com"

_REGISTRY_USER = "oauth2accesstoken"
_SCHEME = "gs"

log = get_logger()


def registry_connector(name: str, tokens: Tokens, *, registry: str) -> GcpLogin[Any]:
    """Return a connector for *registry*, Artifact Registry's or Container Registry's host."""

    async def make(token: Token) -> RegistryCredentials:
        user = Secret(_REGISTRY_USER)
        tokens.secrets.register(user)
        return RegistryCredentials(registry, user, token.secret, token.expires_at)

    return GcpLogin(name, RegistryCredentials, tokens, make)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where GKE's API says what is known of a cluster; *project_id* None is the credentials'."""

    resource_id: str
    project_id: str | None
    api_url: str = CONTAINER_URL


def cluster_connector(name: str, tokens: Tokens, cluster: Cluster) -> GcpLogin[Any]:
    """Return a connector for one GKE cluster; its address and CA are asked for with each token.

    Raises:
        UsageError: The cluster is not named as LOCATION/CLUSTER.
    """
    location, slash, short = cluster.resource_id.partition("/")
    if not (location and slash and short) or "/" in short:
        raise UsageError(f"connectors.{name}.resource_id: should be LOCATION/CLUSTER")

    async def make(token: Token) -> KubernetesCredentials:
        project = cluster.project_id or token.project_id
        if project is None:
            detail = "the credentials name no project; set project_id"
            raise CredentialUnavailable(detail=detail)
        path = (quote(part, safe="") for part in (project, location, short))
        url = "{}/v1/projects/{}/locations/{}/clusters/{}".format(cluster.api_url, *path)
        header = {"Authorization": f"Bearer {token.secret.reveal()}"}
        answer = await tokens.google.asked(lambda session: session.get(url, headers=header))
        server, authority = _address(answer)
        if authority is not None:
            tokens.secrets.register(authority)
        return KubernetesCredentials(
            server=server,
            token=token.secret,
            certificate_authority=authority,
            expires_at=token.expires_at,
        )

    return GcpLogin(name, KubernetesCredentials, tokens, make)


def _address(cluster: dict[str, Any]) -> tuple[str, Secret | None]:
    """Return where the cluster's API is, and the CA that vouches for it: by IP, or by name."""
    try:
        if cluster.get("endpoint"):
            certificate = base64.b64decode(cluster["masterAuth"]["clusterCaCertificate"])
            return f"https://{cluster['endpoint']}", Secret(certificate.decode())
        by_name = cluster["controlPlaneEndpointsConfig"]["dnsEndpointConfig"]["endpoint"]
    except (KeyError, TypeError, ValueError):
        raise StoreUnavailable(detail="GKE did not say where the cluster is") from None
    return f"https://{by_name}", None


def reading_boundary(
    name: str, readable: Sequence[ArtifactUri], resource_id: str | None
) -> dict[str, Any] | None:
    """Return what narrows a token to *readable*, or else to *resource_id*; None is to everything.

    Raises:
        UsageError: It can't be narrowed so far: nothing wider is taken in its place.
    """
    roots = outermost([root for root in readable if root.scheme == _SCHEME])
    if resource_id is not None:
        roots = _within(name, roots, resource_id)
    if len(roots) > MOST_RULES:
        buckets = outermost([ArtifactUri(_SCHEME, root.bucket, ()) for root in roots])
        log.warning("credential.widened", connector=name, roots=len(roots), buckets=len(buckets))
        roots = buckets
    if len(roots) > MOST_RULES:
        raise UsageError(
            f"connectors.{name}: its artifact stores are in {len(roots)} buckets, and Google "
            f"narrows a token to {MOST_RULES}; share them among connectors, or set narrow: false"
        )
    return boundary(roots) if roots else None


def _within(name: str, roots: list[ArtifactUri], resource_id: str) -> list[ArtifactUri]:
    try:
        bucket = ArtifactUri.parse(resource_id)
    except ValueError:
        raise UsageError(f"connectors.{name}.resource_id: is no URI") from None
    if bucket.scheme != _SCHEME:
        raise UsageError(f"connectors.{name}.resource_id: should be like gs://bucket/prefix")
    outside = [root for root in roots if not root.within(bucket)]
    if outside:
        raise UsageError(
            f"connectors.{name}.resource_id: {outside[0]}, an artifact store of this connector, "
            "lies outside of it"
        )
    return roots or [bucket]
