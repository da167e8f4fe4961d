"""The border to azure-identity: access tokens that Microsoft Entra issues.

The only importer of azure.identity, which is loaded by the first token. No token is kept here.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.clouds.azure.blob_service import session_with, transport
from agent.clouds.azure.tokens import Token
from agent.clouds.base import SecretSource
from agent.egress import metadata_allowed
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.threads import Threads

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.exceptions import ClientAuthenticationError

    from agent.http_session import HttpSession

_DEADLINE = 30.0
_THREADS = 4
_MORE_TRIES = 2
_PAUSE = 0.2
_PUBLIC = "https://login.microsoftonline.com"
# Microsoft knows these and vouches for them; others are asked nothing about themselves.
_KNOWN = {_PUBLIC, "https://login.microsoftonline.us", "https://login.chinacloudapi.cn"}
_CODE = re.compile(r"AADSTS\d+")
_NOBODY = "no identity of Azure is at hand: look at the method, and at what the host offers"


@dataclass(frozen=True, slots=True)
class Authority:
    """Where Entra is: *host* is None where the host's environment decides."""

    host: str | None = None
    ca_file: Path | None = None

    def options(self, session: "HttpSession") -> dict[str, Any]:
        """Return what every credential of azure-identity is told."""
        options: dict[str, Any] = {
            "transport": transport(session),
            "retry_total": _MORE_TRIES,
            "retry_backoff_factor": _PAUSE,
        }
        if self.host is not None:
            options["authority"] = self.host
            options["disable_instance_discovery"] = self.host.rstrip("/") not in _KNOWN
        return options


Make = Callable[[Sequence[str], dict[str, Any]], "TokenCredential"]
"""Makes a credential of azure-identity from secrets and options."""


class EntraTokens:
    """Tokens that Entra issues to what *make* makes of the secrets behind *references*.

    With *metadata* it may ask the services that tell a host its identity.
    """

    def __init__(
        self,
        secrets: SecretSource,
        references: Sequence[SecretReference],
        authority: Authority,
        make: Make,
        *,
        metadata: bool = False,
    ) -> None:
        self._secrets = secrets
        self._references = references
        self._authority = authority
        self._make = make
        self._metadata = metadata
        self._threads = Threads("entra", size=_THREADS)

    async def token(self, scope: str) -> Token:
        try:
            return await self._issued(scope)
        except AccessDenied as refusal:
            if not self._references:
                raise CredentialUnavailable(detail=refusal.detail) from None
        # The secret may have been rotated since it was read.
        self.forget()
        try:
            return await self._issued(scope)
        except AccessDenied as refusal:
            raise CredentialUnavailable(detail=refusal.detail) from None

    def forget(self) -> None:
        for reference in self._references:
            self._secrets.invalidate(reference)

    async def _issued(self, scope: str) -> Token:
        resolved = await self._secrets.resolve_together(self._references)
        revealed = [secret.reveal() for secret in resolved.secrets]
        with metadata_allowed() if self._metadata else nullcontext():
            try:
                async with asyncio.timeout(_DEADLINE):
                    token = await self._threads.run(partial(self._request, revealed, scope))
            except TimeoutError:
                detail = f"Microsoft Entra did not answer within {_DEADLINE:.0f} s"
                raise CredentialUnavailable(detail=detail) from None
            except StoreUnavailable as failure:
                raise CredentialUnavailable(detail=failure.detail) from None
        self._secrets.register(token.secret)
        return token

    def _request(self, secrets: Sequence[str], scope: str) -> Token:
        with _translated(), closing(session_with(self._authority.ca_file)) as session:
            credential = self._make(secrets, self._authority.options(session))
            issued = credential.get_token(scope)
        return Token(Secret(issued.token), datetime.fromtimestamp(issued.expires_on, UTC))


def client_secret(tenant_id: str, client_id: str) -> Make:
    """Return what makes the credential of a service principal; its secret is the only one."""

    def make(secrets: Sequence[str], options: dict[str, Any]) -> "TokenCredential":
        from azure.identity import ClientSecretCredential

        return ClientSecretCredential(tenant_id, client_id, secrets[0], **options)

    return make


def workload_identity(tenant_id: str, client_id: str, token_file: Path | None) -> Make:
    """Return what makes the credential of a workload whose platform writes *token_file*."""

    def make(_: Sequence[str], options: dict[str, Any]) -> "TokenCredential":
        from azure.identity import WorkloadIdentityCredential

        given = {"tenant_id": tenant_id, "client_id": client_id}
        path = None if token_file is None else str(token_file)
        return WorkloadIdentityCredential(token_file_path=path, **given, **options)

    return make


def managed_identity(client_id: str | None) -> Make:
    """Return what makes the credential of the host, or of one that was assigned to it."""

    def make(_: Sequence[str], options: dict[str, Any]) -> "TokenCredential":
        from azure.identity import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=client_id, **options)

    return make


def implicit(client_id: str | None) -> Make:
    """Return what makes the first that the host has: environment, workload, managed identity.

    What developers log in with on their machines is no identity of a host.
    """

    def make(_: Sequence[str], options: dict[str, Any]) -> "TokenCredential":
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential(
            managed_identity_client_id=client_id,
            exclude_shared_token_cache_credential=True,
            exclude_visual_studio_code_credential=True,
            exclude_cli_credential=True,
            exclude_developer_cli_credential=True,
            exclude_powershell_credential=True,
            exclude_interactive_browser_credential=True,
            exclude_broker_credential=True,
            **options,
        )

    return make


@contextmanager
def _translated() -> Iterator[None]:
    # Entra's texts quote the request; its codes are documented and say enough.
    from azure.core.exceptions import AzureError, ClientAuthenticationError
    from azure.identity import CredentialUnavailableError

    # Its warnings repeat what is raised, with those texts.
    logging.getLogger("azure.identity").setLevel(logging.CRITICAL)
    try:
        yield
    except CredentialUnavailableError:
        raise CredentialUnavailable(detail=_NOBODY) from None
    except ClientAuthenticationError as error:
        raise _refusal(error) from None
    except AzureError as error:
        detail = f"Microsoft Entra did not answer: {type(error).__name__}"
        raise CredentialUnavailable(detail=detail) from None
    except (ValueError, OSError) as error:
        detail = f"no login to Microsoft Entra: {type(error).__name__}"
        raise CredentialUnavailable(detail=detail) from None


def _refusal(error: "ClientAuthenticationError") -> AccessDenied | CredentialUnavailable:
    """Tell a refusal from everything else that azure-identity calls one."""
    status = None if error.response is None else error.response.status_code
    if status is not None and status >= 500:
        return CredentialUnavailable(detail=f"Microsoft Entra answered {status}")
    if error.__cause__ is not None:
        cause = type(error.__cause__).__name__
        return CredentialUnavailable(detail=f"Microsoft Entra did not answer: {cause}")
    code = _CODE.search(str(error))
    if code is None and status is None:
        return CredentialUnavailable(detail=_NOBODY)
    return AccessDenied(detail=f"Microsoft Entra refused: {code[0] if code else status}")
