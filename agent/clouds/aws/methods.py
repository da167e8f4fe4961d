"""The ways to come by credentials of AWS. Keeping them is not done here."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.clouds.aws.boto import Endpoint
from agent.clouds.aws.host import HostCredentials
from agent.clouds.aws.login import Method
from agent.clouds.aws.sts import Sts, Wanted
from agent.clouds.base import SecretSource
from agent.credentials import AwsCredentials
from agent.errors import AccessDenied, CredentialUnavailable, NotFound, StoreUnavailable
from agent.secret import Secret
from agent.secret_reference import SecretReference


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
        with _as_unavailable():
            return _registered(self._secrets, await self._host.current())

    def forget(self) -> None:
        self._host.forget()


class Exchanged:
    """Temporary credentials that STS issues when it is asked with the key of *base*."""

    def __init__(
        self,
        secrets: SecretSource,
        base: Method,
        ask: Callable[[AwsCredentials], Awaitable[AwsCredentials]],
    ) -> None:
        self._secrets = secrets
        self._base = base
        self._ask = ask

    async def issue(self) -> AwsCredentials:
        with _as_unavailable():
            try:
                issued = await self._ask(await self._base.issue())
            except AccessDenied:
                # The key may have been rotated: it is read again once.
                self._base.forget()
                issued = await self._ask(await self._base.issue())
        return _registered(self._secrets, issued)

    def forget(self) -> None:
        self._base.forget()


class WebIdentity:
    """Temporary credentials of a role, for the identity whose token stands in a file.

    Whoever mounts the file keeps the token fresh, as EKS does: it is read at every login.
    """

    def __init__(self, secrets: SecretSource, token_file: Path, sts: Sts, wanted: Wanted) -> None:
        self._secrets = secrets
        self._token_file = token_file
        self._sts = sts
        self._wanted = wanted

    async def issue(self) -> AwsCredentials:
        token = Secret(await asyncio.to_thread(_token_in, self._token_file))
        self._secrets.register(token)
        with _as_unavailable():
            issued = await self._sts.assume_role_with(token, self._wanted)
        return _registered(self._secrets, issued)

    def forget(self) -> None:
        """Nothing is kept here."""


def _token_in(file: Path) -> str:
    try:
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise CredentialUnavailable(detail=f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token:
        raise CredentialUnavailable(detail=f"{file} holds no token")
    return token


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except (AccessDenied, NotFound, StoreUnavailable) as refusal:
        raise CredentialUnavailable(detail=refusal.detail) from None


def _registered(secrets: SecretSource, issued: AwsCredentials) -> AwsCredentials:
    for secret in (issued.access_key_id, issued.secret_access_key, issued.session_token):
        if secret is not None:
            secrets.register(secret)
    return issued
