"""Vault as a secret store:

which engine is read, and how long we try. Logging in is the session's part.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_random_exponential

from agent.secret import Secret
from agent.secrets.base import SecretValue, refuse_version
from agent.secrets.vault.dynamic import DynamicSecrets
from agent.secrets.vault.key_value import KeyValue
from agent.secrets.vault.login import Login
from agent.secrets.vault.server import VaultDown, VaultServer
from agent.secrets.vault.session import VaultSession

T = TypeVar("T")

_DEADLINE = 10.0
_ATTEMPTS = 4
_LAST_START = 6.0
_LINGER = 60.0
"""Seconds in which requests end that were under way with what was refused to another."""
_VERSIONS = {"auto": None, "kv1": 1, "kv2": 2}


class VaultSecretStore:
    """Reads one KV mount, or with the engine ``dynamic`` any path that makes a secret.

    A Vault that is down or sealed is asked four times within ten seconds; a refusal is final at
    once.
    """

    def __init__(
        self,
        server: VaultServer,
        login: Login,
        *,
        mount: str,
        engine: Literal["auto", "kv1", "kv2", "dynamic"],
        on_secret: Callable[[Secret], None],
        linger: float = _LINGER,
    ) -> None:
        self._address = server.address
        self._about = f"{server.address}, logged in with {login.name}"
        self._session = VaultSession(server, login, on_secret=on_secret)
        self._dynamic = DynamicSecrets(self._session, linger=linger)
        self._kv = None
        if engine != "dynamic":
            self._kv = KeyValue(self._session, mount, _VERSIONS[engine])
        self._mount = mount

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        if self._kv is None:
            refuse_version(version)
            return await self._patiently(lambda: self._dynamic.read(path))
        kv = self._kv
        return await self._patiently(lambda: kv.read(path, version))

    async def check(self) -> str:
        token = await self._patiently(self._session.token)
        seconds = token.lease.remaining()
        expiry = "" if seconds == math.inf else f", token good for {seconds:.0f} s"
        if self._kv is None:
            return self._about + expiry
        version = await self._patiently(self._kv.version)
        return f"{self._about}{expiry}; {self._mount} is a KV engine of version {version}"

    def forget(self, path: str) -> None:
        self._dynamic.forget(path)

    async def close(self) -> None:
        # A lease dies with the token it was given to.
        held = await self._dynamic.close()
        await self._session.close(revoke=not held)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        tries = AsyncRetrying(
            retry=retry_if_exception_type(VaultDown),
            stop=stop_after_attempt(_ATTEMPTS) | stop_after_delay(_LAST_START),
            wait=wait_random_exponential(multiplier=0.25, max=2.0),
            reraise=True,
        )

        # tenacity awaits only what it recognises as a coroutine function, which a lambda is not.
        async def once() -> T:
            return await work()

        try:
            async with asyncio.timeout(_DEADLINE):
                return await tries(once)
        except TimeoutError:
            detail = f"{self._address} did not answer within {_DEADLINE:.0f} s"
            raise VaultDown(detail=detail) from None
