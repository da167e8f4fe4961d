"""Secrets in a KV engine of Vault, version 1 or 2. Leases are not known here."""

from agent.errors import CredentialUnavailable
from agent.secrets.base import SecretValue
from agent.secrets.fields import object_fields
from agent.secrets.vault.answers import Answer, section, text
from agent.secrets.vault.server import VaultDenied, api_path
from agent.secrets.vault.session import VaultSession


class KeyValue:
    """Reads below *mount*; without a *version* it asks Vault once which one that is."""

    def __init__(self, session: VaultSession, mount: str, version: int | None) -> None:
        self._session = session
        self._mount = mount
        self._version = version

    async def read(self, path: str) -> SecretValue:
        """Return the fields of the newest version at *path*.

        Raises:
            CredentialUnavailable: As `VaultSession.ask`.
        """
        if await self.version() == 1:
            answer = await self._get(self._mount, path)
            return SecretValue(object_fields(section(answer, "data")))
        answer = await self._get(self._mount, "data", path)
        return SecretValue(object_fields(section(answer, "data", "data")))

    async def version(self) -> int:
        """Return the engine's version, 2 where Vault won't tell.

        Raises:
            CredentialUnavailable: The mount is no KV engine, or as `VaultSession.ask`.
        """
        if self._version is None:
            try:
                self._version = self._version_of(await self._mount_info())
            except VaultDenied:
                # Told to any token that may do something below the mount. Ours may be allowed it
                # later.
                return 2
        return self._version

    async def _mount_info(self) -> Answer:
        # Meant for user interfaces, and the one place that tells without a right of its own.
        return section(await self._get("sys/internal/ui/mounts", self._mount), "data")

    def _version_of(self, info: Answer) -> int:
        engine = text(info, "type")
        if engine not in ("kv", "generic"):
            advice = "set engine: dynamic to read it"
            raise CredentialUnavailable(detail=f"{self._mount} is a {engine} engine; {advice}")
        return 2 if (info.get("options") or {}).get("version") == "2" else 1

    async def _get(self, *parts: str) -> Answer:
        path = api_path(*parts)
        return (await self._session.ask(lambda client: client.adapter.get(path)))[0]
