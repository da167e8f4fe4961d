"""A connector for the Moon: its key is the whole login."""

from typing import Literal

from agent.clouds.base import SecretSource
from agent.credentials import HttpCredentials, Identity
from agent.plugins import Part, Plugin, Reference
from agent.secret_reference import SecretReference


class MoonSettings(Part):
    """Login to the Moon."""

    type: Literal["moon"]
    key: Reference


class MoonConnector:
    """Gives the key as it stands; the resolver keeps and registers it."""

    gives = HttpCredentials

    def __init__(self, name: str, key: SecretReference, secrets: SecretSource) -> None:
        self.name = name
        self._key = key
        self._secrets = secrets

    async def credentials(self) -> HttpCredentials:
        resolved = await self._secrets.resolve_together([self._key])
        return HttpCredentials(authorization=resolved.secrets[0])

    def invalidate(self, used: HttpCredentials) -> None:
        self._secrets.invalidate(self._key)

    async def identity(self) -> Identity:
        await self.credentials()
        return Identity("the man in the Moon")

    async def close(self) -> None:
        """Nothing is open."""


PLUGIN = Plugin(
    MoonSettings,
    lambda name, settings, secrets, _readable: MoonConnector(name, settings.key, secrets),
)
