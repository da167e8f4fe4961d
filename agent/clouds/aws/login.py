"""Logging in to AWS: credentials that are kept and renewed. Coming by them is a method's part."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from agent.clouds.aws.sts import Sts
from agent.clouds.cache import CredentialCache
from agent.credentials import AwsCredentials, Identity
from agent.errors import AccessDenied
from agent.telemetry.logs import get_logger

log = get_logger()

T = TypeVar("T")


class Method(Protocol):
    """One way to come by credentials; keeps none."""

    async def issue(self) -> AwsCredentials:
        """Return credentials that are valid now.

        Raises:
            CredentialUnavailable: There are none; `detail` says why.
        """

    def forget(self) -> None:
        """Start from the sources at the next `issue`, since what came of them was refused."""


class AwsLogin:
    """Hands out the credentials that its method issues; *name* is for logs and metrics."""

    gives = AwsCredentials

    def __init__(self, name: str, method: Method, sts: Sts) -> None:
        self.name = name
        self.sts = sts
        self._method = method
        self._cache = CredentialCache(name, method.issue)

    async def credentials(self) -> AwsCredentials:
        return await self._cache.get()

    def invalidate(self, used: AwsCredentials) -> None:
        if self._cache.drop(used):
            log.warning("credential.refused", connector=self.name)
            self._method.forget()

    async def identity(self) -> Identity:
        used, name = await self.ask(self.sts.caller)
        return Identity(name, used.expires_at)

    async def ask(
        self, question: Callable[[AwsCredentials], Awaitable[T]]
    ) -> tuple[AwsCredentials, T]:
        """Return what *question* does, and the credentials that it was asked with.

        Credentials that are refused are dropped, and it is asked once more with others.

        Raises:
            CredentialUnavailable: There are no credentials. Besides, what *question* raises.
        """
        used = await self.credentials()
        try:
            return used, await question(used)
        except AccessDenied:
            self.invalidate(used)
        used = await self.credentials()
        return used, await question(used)

    async def close(self) -> None:
        await self._cache.close()
        self.sts.endpoint.threads.close()
