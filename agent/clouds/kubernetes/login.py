"""Logging in to a cluster, by several methods. Asking the cluster is `api`'s part."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from agent.clouds.base import SecretSource
from agent.clouds.cache import CredentialCache
from agent.clouds.kubernetes.api import user_of
from agent.clouds.kubernetes.kubeconfig import Kubeconfig, content_of
from agent.clouds.kubernetes.subject import basic_pair, expiry
from agent.credentials import Identity, KubernetesCredentials
from agent.errors import AccessDenied, CredentialUnavailable
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.telemetry.logs import get_logger

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REREAD_EVERY = timedelta(minutes=1)
"""The kubelet renews a mounted token long before its end, and clusters count those who use old
ones."""

log = get_logger()


class Method(Protocol):
    """One way to come by credentials; keeps none."""

    async def issue(self) -> KubernetesCredentials:
        """Return credentials as they stand now.

        Raises:
            CredentialUnavailable: There are none; `detail` says why.
        """

    def forget(self) -> None:
        """Start from the sources at the next `issue`, since what came of them was refused."""


class KubernetesLogin:
    """Hands out the credentials of its method; *name* is for logs and metrics."""

    gives = KubernetesCredentials

    def __init__(self, name: str, method: Method, secrets: SecretSource) -> None:
        self.name = name
        self._method = method
        self._secrets = secrets
        self._cache = CredentialCache(name, self._issue, keep_at_most=REREAD_EVERY)

    async def credentials(self) -> KubernetesCredentials:
        return await self._cache.get()

    def invalidate(self, used: KubernetesCredentials) -> None:
        if self._cache.drop(used):
            log.warning("credential.refused", connector=self.name)
            self._method.forget()

    async def identity(self) -> Identity:
        credentials = await self.credentials()
        try:
            name = await user_of(credentials)
        except AccessDenied:
            self.invalidate(credentials)
            credentials = await self.credentials()
            name = await user_of(credentials)
        return Identity(name, credentials.expires_at)

    async def close(self) -> None:
        await self._cache.close()

    async def _issue(self) -> KubernetesCredentials:
        credentials = await self._method.issue()
        values = [getattr(credentials, one.name) for one in fields(credentials)]
        for value in [*values, basic_pair(credentials)]:
            if isinstance(value, Secret):
                self._secrets.register(value)
        return credentials


class InCluster:
    """The service account of the pod that the agent runs in, as it is mounted."""

    async def issue(self) -> KubernetesCredentials:
        return await asyncio.to_thread(self._read)

    def forget(self) -> None:
        """Nothing is kept here."""

    def _read(self) -> KubernetesCredentials:
        token = Secret(self._text("token"))
        return KubernetesCredentials(
            server=_server_of(os.environ),
            token=token,
            certificate_authority=Secret(self._text("ca.crt")),
            namespace=self._text("namespace"),
            expires_at=expiry(token, None),
        )

    def _text(self, name: str) -> str:
        path = SERVICE_ACCOUNT / name
        try:
            text = content_of(path).strip()
        except OSError as error:
            detail = f"{path}: {error.strerror}; does the pod mount its service account's token?"
            raise CredentialUnavailable(detail=detail) from None
        except UnicodeDecodeError:
            raise CredentialUnavailable(detail=f"{path} is not text") from None
        if not text:
            raise CredentialUnavailable(detail=f"{path} is empty")
        return text


class FromKubeconfig:
    """What a kubeconfig says, read anew each time."""

    def __init__(self, kubeconfig: Kubeconfig) -> None:
        self._kubeconfig = kubeconfig

    async def issue(self) -> KubernetesCredentials:
        return await asyncio.to_thread(self._kubeconfig.credentials)

    def forget(self) -> None:
        """Nothing is kept here."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which server, and how it is known to be the one."""

    server: str
    ca_file: Path | None = None
    verify_tls: bool = True


class Stored:
    """Credentials in secret stores; *references* has one for each field of them."""

    def __init__(
        self, secrets: SecretSource, references: Mapping[str, SecretReference], place: Place
    ) -> None:
        self._secrets = secrets
        self._references = references
        self._place = place

    async def issue(self) -> KubernetesCredentials:
        resolved = await self._secrets.resolve_together(list(self._references.values()))
        given: dict[str, Any] = dict(zip(self._references, resolved.secrets, strict=True))
        if self._place.ca_file is not None:
            text = await asyncio.to_thread(_authority, self._place.ca_file)
            given["certificate_authority"] = Secret(text)
        end = expiry(given.get("token"), given.get("client_certificate"))
        if resolved.expires_in is not None:
            lease = datetime.now(UTC) + timedelta(seconds=resolved.expires_in)
            end = min(end, lease) if end else lease
        place = KubernetesCredentials(self._place.server, verify_tls=self._place.verify_tls)
        return replace(place, **given, expires_at=end)

    def forget(self) -> None:
        for reference in self._references.values():
            self._secrets.invalidate(reference)


def _server_of(environment: Mapping[str, str]) -> str:
    host = environment.get("KUBERNETES_SERVICE_HOST")
    port = environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise CredentialUnavailable(
            detail="KUBERNETES_SERVICE_HOST is not set: in-cluster is for an agent in a pod"
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _authority(path: Path) -> str:
    try:
        return content_of(path)
    except OSError as error:
        raise CredentialUnavailable(detail=f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CredentialUnavailable(detail=f"{path} is not PEM text") from None
