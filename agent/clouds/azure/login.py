"""Logging in to Azure. Each way to come by credentials stands in a file of its own."""

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from agent.clouds.cache import CredentialCache
from agent.credentials import Credentials, Identity
from agent.errors import AccessDenied
from agent.telemetry.logs import get_logger

log = get_logger()

C = TypeVar("C", bound=Credentials)
T = TypeVar("T")


class Method(Protocol[C]):
    """One way to come by credentials; keeps none."""

    async def issue(self) -> C:
        """Return credentials that are valid now, and registered.

        Raises:
            CredentialUnavailable: There are none; `detail` says why.
        """

    async def who(self, credentials: C) -> str:
        """Say who *credentials* are, as Azure names them.

        Raises:
            AccessDenied, StoreUnavailable: Azure had to be asked, and refused or did not answer.
        """

    def forget(self) -> None:
        """Start from the sources at the next `issue`, since what came of them was refused."""


class AzureLogin(Generic[C]):
    """Hands out the credentials that its method issues; *name* is for logs and metrics."""

    def __init__(self, name: str, gives: type[C], method: Method[C]) -> None:
        self.name = name
        self.gives = gives
        self._method = method
        self._cache = CredentialCache(name, method.issue)

    async def credentials(self) -> C:
        return await self._cache.get()

    def invalidate(self, used: C) -> None:
        if self._cache.drop(used):
            log.warning("credential.refused", connector=self.name)
            self._method.forget()

    async def ask(self, request: Callable[[C], Awaitable[T]]) -> T:
        """Return what *request* returns; where credentials are refused, once more with others.

        Raises:
            CredentialUnavailable: None could be issued. Besides, what *request* raises.
        """
        credentials = await self.credentials()
        try:
            return await request(credentials)
        except AccessDenied:
            self.invalidate(credentials)
        return await request(await self.credentials())

    async def identity(self) -> Identity:
        return await self.ask(self._identity)

    async def close(self) -> None:
        await self._cache.close()

    async def _identity(self, credentials: C) -> Identity:
        return Identity(await self._method.who(credentials), credentials.expires_at)
