"""Secrets that AWS keeps, read with a login to AWS. Its services stand in files of their own."""

from typing import Protocol

from agent.clouds.aws.login import AwsLogin
from agent.credentials import AwsCredentials
from agent.errors import AccessDenied, CredentialUnavailable, NotFound, StoreUnavailable
from agent.secrets.base import SecretValue

_PROBE = "cloud-agent-check"


class Shelf(Protocol):
    """A service of AWS that keeps secrets; questions raise what those of a `Service` do."""

    title: str

    async def read(self, key: AwsCredentials, name: str, version: str | None) -> SecretValue:
        """Return the secret *name*, or what it was as *version*."""


class AwsSecretStore:
    """Reads what is called *prefix* + path from *shelf*; credentials that are refused are renewed.

    A question ends within twenty seconds, a reading within two, apart from the login.
    """

    def __init__(self, login: AwsLogin, shelf: Shelf, *, prefix: str) -> None:
        self._login = login
        self._shelf = shelf
        self._prefix = prefix

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        name = self._prefix + path
        try:
            _, value = await self._login.ask(lambda key: self._shelf.read(key, name, version))
        except NotFound as failure:
            what = repr(name) if version is None else f"{name!r}, or no version {version!r} of it"
            detail = f"{self._shelf.title} has no secret {what}: {failure.detail}"
        except (AccessDenied, StoreUnavailable) as failure:
            detail = f"{self._shelf.title}, asked for {name!r}: {failure.detail}"
        else:
            return value
        raise CredentialUnavailable(detail=detail)

    async def check(self) -> str:
        try:
            who = await self._login.identity()
            await self._probe()
        except (AccessDenied, StoreUnavailable) as failure:
            detail = f"{self._shelf.title}: {failure.detail}"
            raise CredentialUnavailable(detail=detail) from None
        until = f", until {who.expires_at:%F %T %Z}" if who.expires_at else ""
        return f"{self._shelf.title} answers {who.name}{until}"

    def forget(self, path: str) -> None:
        """Nothing is kept here."""

    async def close(self) -> None:
        await self._login.close()

    async def _probe(self) -> None:
        """Have the service answer, whatever it says: STS let us in, and names may be limited."""
        key = await self._login.credentials()
        try:
            await self._shelf.read(key, self._prefix + _PROBE, None)
        except (AccessDenied, NotFound):
            return
