"""A secret store in memory that counts its readings and can be made to wait."""

import asyncio
from collections.abc import Callable

from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secrets.base import SecretValue


class MemorySecretStore:
    """Holds fields under paths; `gate` holds every reading up while it is not set."""

    def __init__(self, contents: dict[str, dict[str, str]] | None = None) -> None:
        self.contents = contents or {}
        self.versions: dict[tuple[str, str], dict[str, str]] = {}
        self.expires_in: float | None = None
        self.holdable = True
        self.holds: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reads = 0
        self.forgotten: list[str] = []
        self.closed = False

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        self.reads += 1
        fields = self.versions.get((path, version)) if version else self.contents.get(path)
        await self.gate.wait()
        if fields is None:
            raise CredentialUnavailable(detail=f"nothing at {path}")
        secrets = {name: Secret(value) for name, value in fields.items()}
        return SecretValue(secrets, self.expires_in, hold=self._hold if self.holdable else None)

    def _hold(self, seconds: float) -> Callable[[], None]:
        self.holds.append(seconds)
        return lambda: self.holds.remove(seconds)

    async def check(self) -> str:
        return "a store in memory"

    def forget(self, path: str) -> None:
        self.forgotten.append(path)

    async def close(self) -> None:
        self.closed = True
