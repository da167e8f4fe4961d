"""Logging in to AWS, by several methods. Speaking to AWS is `sts`'s part."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from agent.clouds.aws.sts import Endpoint, HostCredentials, Role, Sts
from agent.clouds.base import SecretSource
from agent.clouds.cache import CredentialCache
from agent.credentials import AwsCredentials, Identity
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable
from agent.secret_reference import SecretReference
from agent.telemetry.logs import get_logger

log = get_logger()


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
        self._method = method
        self._sts = sts
        self._cache = CredentialCache(name, method.issue)

    async def credentials(self) -> AwsCredentials:
        return await self._cache.get()

    def invalidate(self, used: AwsCredentials) -> None:
        if self._cache.drop(used):
            log.warning("credential.refused", connector=self.name)
            self._method.forget()

    async def identity(self) -> Identity:
        credentials = await self.credentials()
        try:
            name = await self._sts.caller(credentials)
        except AccessDenied:
            self.invalidate(credentials)
            credentials = await self.credentials()
            name = await self._sts.caller(credentials)
        return Identity(name, credentials.expires_at)

    async def close(self) -> None:
        await self._cache.close()


class StoredKey:
    """A key, with or without a session token, as it stands in secret stores; loads no boto3."""

    def __init__(
        self, secrets: SecretSource, references: Sequence[SecretReference], endpoint: Endpoint
    ) -> None:
        self._secrets = secrets
        self._references = references
        self._endpoint = endpoint

    async def issue(self) -> AwsCredentials:
        resolved = await self._secrets.resolve_together(self._references)
        key_id, secret, *token = resolved.secrets
        expires_at = None
        if resolved.expires_in is not None:
            expires_at = datetime.now(UTC) + timedelta(seconds=resolved.expires_in)
        key = (key_id, secret, token[0] if token else None)
        return self._endpoint.credentials(key, expires_at)

    def forget(self) -> None:
        for reference in self._references:
            self._secrets.invalidate(reference)


class HostKey:
    """Whatever the host offers."""

    def __init__(self, secrets: SecretSource, endpoint: Endpoint) -> None:
        self._secrets = secrets
        self._host = HostCredentials(endpoint)

    async def issue(self) -> AwsCredentials:
        try:
            credentials = await self._host.current()
        except (AccessDenied, StoreUnavailable) as refusal:
            raise CredentialUnavailable(detail=refusal.detail) from None
        return _registered(self._secrets, credentials)

    def forget(self) -> None:
        self._host.forget()


class SessionToken:
    """A temporary token that STS issues for the key of *base*, with that key's rights."""

    def __init__(self, secrets: SecretSource, base: Method, sts: Sts, *, seconds: float) -> None:
        self._secrets = secrets
        self._base = base
        self._sts = sts
        self._seconds = seconds

    async def issue(self) -> AwsCredentials:
        seconds = self._seconds
        issued = await _with_key(self._base, lambda key: self._sts.session_token(key, seconds))
        return _registered(self._secrets, issued)

    def forget(self) -> None:
        self._base.forget()


class AssumedRole:
    """Temporary credentials of *role*, which the key of *base* may assume."""

    def __init__(self, secrets: SecretSource, base: Method, sts: Sts, role: Role) -> None:
        self._secrets = secrets
        self._base = base
        self._sts = sts
        self._role = role

    async def issue(self) -> AwsCredentials:
        issued = await _with_key(self._base, lambda key: self._sts.assume_role(key, self._role))
        return _registered(self._secrets, issued)

    def forget(self) -> None:
        self._base.forget()


async def _with_key(
    base: Method, ask: Callable[[AwsCredentials], Awaitable[AwsCredentials]]
) -> AwsCredentials:
    """Ask STS; a key that is refused is resolved again once, as it may have been rotated."""
    try:
        try:
            return await ask(await base.issue())
        except AccessDenied:
            base.forget()
            return await ask(await base.issue())
    except (AccessDenied, StoreUnavailable) as refusal:
        raise CredentialUnavailable(detail=refusal.detail) from None


def _registered(secrets: SecretSource, issued: AwsCredentials) -> AwsCredentials:
    for secret in (issued.access_key_id, issued.secret_access_key, issued.session_token):
        if secret is not None:
            secrets.register(secret)
    return issued
