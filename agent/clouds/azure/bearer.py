"""Logins with tokens of Microsoft Entra, as they are or narrowed to one container."""

from dataclasses import replace

from agent.clouds.azure.claims import holder
from agent.clouds.azure.places import Place
from agent.clouds.azure.sas import register_sas, sas_name, with_sas
from agent.clouds.azure.storage import Accounts
from agent.clouds.azure.tokens import TokenSource
from agent.clouds.base import SecretSource
from agent.credentials import AzureCredentials
from agent.errors import AccessDenied, CredentialUnavailable, NotFound, StoreUnavailable


class Bearer:
    """A token of Microsoft Entra for *scope*."""

    def __init__(self, tokens: TokenSource, scope: str, place: Place) -> None:
        self._tokens = tokens
        self._scope = scope
        self._place = place

    async def issue(self) -> AzureCredentials:
        token = await self._tokens.token(self._scope)
        place = self._place.credentials()
        return replace(place, token=token.secret, expires_at=token.expires_at)

    async def who(self, credentials: AzureCredentials) -> str:
        # Entra has just said so: the token came from there.
        return holder(credentials.token.reveal()) if credentials.token else ""

    def forget(self) -> None:
        self._tokens.forget()


class Delegated:
    """A SAS token that reads one container, issued for the holder of a token of Entra.

    It lives for an hour, and not longer than that token.
    """

    def __init__(
        self, secrets: SecretSource, bearer: Bearer, accounts: Accounts, container: str
    ) -> None:
        self._secrets = secrets
        self._bearer = bearer
        self._accounts = accounts
        self._container = container

    async def issue(self) -> AzureCredentials:
        bearer = await self._bearer.issue()
        try:
            sas = await self._accounts.delegated_sas(bearer, self._container)
        except AccessDenied as refusal:
            raise CredentialUnavailable(
                detail=f"no key to narrow the token with, {refusal.detail}: give the identity the "
                "role Storage Blob Delegator on the account, or set narrow: false"
            ) from None
        except (NotFound, StoreUnavailable) as failure:
            detail = f"no key to narrow the token with: {failure.detail}"
            raise CredentialUnavailable(detail=detail) from None
        register_sas(self._secrets, sas)
        return with_sas(replace(bearer, token=None), sas)

    async def who(self, credentials: AzureCredentials) -> str:
        return sas_name(credentials)

    def forget(self) -> None:
        self._bearer.forget()
