"""Secrets in Azure Key Vault, read with a login to Microsoft Entra.

The only importer of azure.keyvault, which is loaded by the first reading.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from agent.clouds.azure.blob_service import GivenToken, session_with, transport
from agent.clouds.azure.errors import translated
from agent.clouds.azure.login import AzureLogin
from agent.credentials import AzureCredentials
from agent.errors import AccessDenied, CredentialUnavailable, NotFound, StoreUnavailable
from agent.retrying import patiently
from agent.secrets.base import SecretValue
from agent.secrets.fields import text_fields
from agent.threads import Threads

if TYPE_CHECKING:
    from azure.keyvault.secrets import SecretClient

    from agent.http_session import HttpSession

T = TypeVar("T")

_DEADLINE = 30.0
_THREADS = 4
_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_PROBE = "cloud-agent-check"


class AzureKeyVaultStore:
    """Reads texts, whose JSON members can be named as fields, and their versions by their ids.

    *verify_resource* refuses a vault that says it belongs to another domain than its own.
    """

    def __init__(
        self,
        url: str,
        login: AzureLogin[AzureCredentials],
        *,
        ca_file: Path | None,
        verify_resource: bool,
    ) -> None:
        self._url = url
        self._login = login
        self._ca_file = ca_file
        self._verify_resource = verify_resource
        self._making = Lock()
        self._threads = Threads("key-vault", size=_THREADS)
        self._session: HttpSession | None = None
        self._client: tuple[AzureCredentials, SecretClient] | None = None

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        for what, text in (("secret", path), ("version", version)):
            if text is not None and not _NAME.fullmatch(text):
                detail = f"{text!r} is no name of a {what}: letters, digits and dashes"
                raise CredentialUnavailable(detail=detail)
        try:
            return await self._ask(lambda client: _read(client, path, version))
        except NotFound as failure:
            what = "secret" if version is None else f"secret, or it has no version {version!r}"
            detail = f"Key Vault has no such {what}: {failure.detail}"
        except (AccessDenied, StoreUnavailable) as failure:
            detail = f"Key Vault: {failure.detail}"
        raise CredentialUnavailable(detail=detail)

    async def check(self) -> str:
        who = await self._login.identity()
        until = f", until {who.expires_at:%F %T %Z}" if who.expires_at else ""
        allowed = ""
        try:
            await self._ask(lambda client: _read(client, _PROBE, None))
        except NotFound:
            pass
        except AccessDenied as failure:
            if not (failure.detail or "").startswith("Azure answered 403"):
                raise CredentialUnavailable(detail=f"Key Vault: {failure.detail}") from None
            # Roles may be given for single secrets, and then there is no other to try.
            allowed = ", but not every secret may be read"
        except StoreUnavailable as failure:
            raise CredentialUnavailable(detail=f"Key Vault: {failure.detail}") from None
        return f"Key Vault answers {who.name}{until}{allowed}"

    def forget(self, path: str) -> None:
        """Nothing is kept here."""

    async def close(self) -> None:
        await self._login.close()
        self._threads.close()
        self._client = None
        session, self._session = self._session, None
        if session is not None:
            session.close()

    async def _ask(self, request: Callable[["SecretClient"], T]) -> T:
        return await self._login.ask(
            lambda credentials: patiently(partial(self._in_thread, request, credentials))
        )

    async def _in_thread(
        self, request: Callable[["SecretClient"], T], credentials: AzureCredentials
    ) -> T:
        def ask() -> T:
            with translated():
                return request(self._client_for(credentials))

        try:
            async with asyncio.timeout(_DEADLINE):
                return await self._threads.run(ask)
        except TimeoutError:
            raise StoreUnavailable(detail=f"no answer within {_DEADLINE:.0f} s") from None

    def _client_for(self, credentials: AzureCredentials) -> "SecretClient":
        from azure.keyvault.secrets import SecretClient

        if credentials.token is None:
            raise CredentialUnavailable(detail="the login gives no token")
        with self._making:
            if self._client is None or self._client[0] != credentials:
                self._session = self._session or session_with(self._ca_file)
                client = SecretClient(
                    self._url,
                    GivenToken(credentials.token),
                    verify_challenge_resource=self._verify_resource,
                    transport=transport(self._session),
                    retry_total=0,
                    permit_redirects=False,
                )
                self._client = (credentials, client)
            return self._client[1]


def _read(client: "SecretClient", name: str, version: str | None) -> SecretValue:
    value = client.get_secret(name, version).value
    if value is None:
        raise NotFound(detail="it has no value")
    return SecretValue(text_fields(value))
