"""Secrets in a KV engine of Vault, version 1 or 2. Leases are not known here."""

from agent.errors import CredentialUnavailable
from agent.secrets.base import SecretValue, refuse_version
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

    async def read(self, path: str, version: str | None) -> SecretValue:
        """Return the fields at *path*, those of the newest version where none is named.

        Raises:
            CredentialUnavailable: The engine has no (such) version, or as `VaultSession.ask`.
        """
        if await self.version() == 1:
            refuse_version(version)
            answer = await self._get(self._mount, path)
            return SecretValue(object_fields(section(answer, "data")))
        answer = await self._get(self._mount, "data", path, version=_number(version))
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

    async def _get(self, *parts: str, version: int | None = None) -> Answer:
        path = api_path(*parts)
        question = {} if version is None else {"version": version}
        asked = self._session.ask(lambda client: client.adapter.get(path, params=question))
        return (await asked)[0]


def _number(version: str | None) -> int | None:
    if version is None:
        return None
    if not version.isdecimal() or int(version) == 0:  # 0 is Vault's word for the newest
        raise CredentialUnavailable(detail=f"{version!r} is no version; Vault counts 1, 2, 3")
    return int(version)
