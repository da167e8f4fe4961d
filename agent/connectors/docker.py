"""Logging in to a registry of container images with a user and password, or an access token."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from agent.clouds.base import SecretSource
from agent.clouds.cache import CredentialCache
from agent.connectors.http import basic
from agent.connectors.registry import Registry
from agent.credentials import Identity, RegistryCredentials
from agent.errors import AccessDenied
from agent.secret_reference import SecretReference
from agent.telemetry.logs import get_logger
from agent.threads import Threads

log = get_logger()


class DockerConnector:
    """Gives the user and password that *references* name, for *registry*."""

    gives = RegistryCredentials

    def __init__(
        self,
        name: str,
        registry: str,
        references: Sequence[SecretReference],
        secrets: SecretSource,
        *,
        ca_file: Path | None = None,
    ) -> None:
        self.name = name
        self._address = registry
        self._references = references
        self._secrets = secrets
        self._registry = Registry(registry, ca_file, secrets.register)
        self._cache = CredentialCache(name, self._issue)
        self._threads = Threads(f"docker.{name}", size=2)

    async def credentials(self) -> RegistryCredentials:
        return await self._cache.get()

    def invalidate(self, used: RegistryCredentials) -> None:
        if self._cache.drop(used):
            log.warning("credential.refused", connector=self.name)
            for reference in self._references:
                self._secrets.invalidate(reference)

    async def identity(self) -> Identity:
        credentials = await self.credentials()
        try:
            await self._require_good(credentials)
        except AccessDenied:
            self.invalidate(credentials)
            credentials = await self.credentials()
            await self._require_good(credentials)
        return Identity(credentials.username.reveal(), credentials.expires_at)

    async def close(self) -> None:
        await self._cache.close()
        self._threads.close()

    async def _issue(self) -> RegistryCredentials:
        resolved = await self._secrets.resolve_together(self._references)
        username, password = resolved.secrets
        expires_at = None
        if resolved.expires_in is not None:
            expires_at = datetime.now(UTC) + timedelta(seconds=resolved.expires_in)
        return RegistryCredentials(self._address, username, password, expires_at)

    async def _require_good(self, credentials: RegistryCredentials) -> None:
        username = credentials.username.reveal()
        header = basic(self._secrets, username, credentials.password)
        await self._threads.run(partial(self._registry.require_good, username, header))
