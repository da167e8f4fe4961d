"""Logging in to Azure, by several methods. Where Entra's tokens come from is `entra`'s part."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from agent.clouds.azure.claims import holder, sas_claims, sas_expiry, sas_holder
from agent.clouds.azure.connection_string import CheckUrl, parse_connection_string
from agent.clouds.azure.entra import TokenSource, require_sendable
from agent.clouds.azure.places import Place
from agent.clouds.azure.storage import Accounts
from agent.clouds.base import SecretSource
from agent.clouds.cache import CredentialCache
from agent.credentials import AzureCredentials, Credentials, Identity
from agent.errors import AccessDenied, CredentialUnavailable, NotFound, StoreUnavailable
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.telemetry.logs import get_logger

log = get_logger()

C = TypeVar("C", bound=Credentials)


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

    async def identity(self) -> Identity:
        credentials = await self.credentials()
        try:
            name = await self._method.who(credentials)
        except AccessDenied:
            self.invalidate(credentials)
            credentials = await self.credentials()
            name = await self._method.who(credentials)
        return Identity(name, credentials.expires_at)

    async def close(self) -> None:
        await self._cache.close()


class StoredKey:
    """The key of an account, as it stands in a secret store."""

    def __init__(
        self, secrets: SecretSource, reference: SecretReference, place: Place, accounts: Accounts
    ) -> None:
        self._stored = _Stored(secrets, reference)
        self._place = place
        self._accounts = accounts

    async def issue(self) -> AzureCredentials:
        key = await self._stored.read("account_key")
        _require_base64("account_key", key)
        return replace(self._place.credentials(), account_key=key)

    async def who(self, credentials: AzureCredentials) -> str:
        return await self._accounts.who(credentials)

    def forget(self) -> None:
        self._stored.forget()


class StoredSas:
    """A SAS token, as it stands in a secret store; it says itself when it ends."""

    def __init__(self, secrets: SecretSource, reference: SecretReference, place: Place) -> None:
        self._stored = _Stored(secrets, reference)
        self._place = place

    async def issue(self) -> AzureCredentials:
        sas = await self._current()
        return _with_sas(self._place.credentials(), sas)

    async def who(self, credentials: AzureCredentials) -> str:
        return _sas_name(credentials)

    def forget(self) -> None:
        self._stored.forget()

    async def _current(self) -> Secret:
        sas = await self._read()
        if _is_over(sas):
            # The customer renews it; what we kept of it may be older than that.
            self.forget()
            sas = await self._read()
        if _is_over(sas):
            expires_at = sas_expiry(sas.reveal())
            raise CredentialUnavailable(detail=f"the SAS token ended at {expires_at:%F %T %Z}")
        return sas

    async def _read(self) -> Secret:
        read = await self._stored.read("sas_token")
        sas = Secret(read.reveal().removeprefix("?"))
        register_sas(self._stored.secrets, sas)
        return sas


class ConnectionString:
    """A connection string, as it stands in a secret store, with a key or a SAS token in it."""

    def __init__(
        self,
        secrets: SecretSource,
        reference: SecretReference,
        place: Place,
        accounts: Accounts,
        *,
        check_url: CheckUrl,
    ) -> None:
        self._secrets = secrets
        self._reference = reference
        self._place = place
        self._accounts = accounts
        self._check_url = check_url

    async def issue(self) -> AzureCredentials:
        resolved = await self._secrets.resolve_together([self._reference])
        text = resolved.secrets[0].reveal()
        found = parse_connection_string(text, self._place, self._check_url)
        if found.sas_token is not None:
            register_sas(self._secrets, found.sas_token)
            return _with_sas(found, found.sas_token)
        if found.account_key is not None:
            self._secrets.register(found.account_key)
            _require_base64("AccountKey", found.account_key)
        return found

    async def who(self, credentials: AzureCredentials) -> str:
        if credentials.sas_token is not None:
            return _sas_name(credentials)
        return await self._accounts.who(credentials)

    def forget(self) -> None:
        self._secrets.invalidate(self._reference)


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
        except (AccessDenied, NotFound, StoreUnavailable) as refusal:
            raise CredentialUnavailable(
                detail=f"no key to narrow the token with, {refusal.detail}: give the identity the "
                "role Storage Blob Delegator on the account, or set narrow: false"
            ) from None
        register_sas(self._secrets, sas)
        return _with_sas(replace(bearer, token=None), sas)

    async def who(self, credentials: AzureCredentials) -> str:
        return _sas_name(credentials)

    def forget(self) -> None:
        self._bearer.forget()


class _Stored:
    """One value of a secret store that has to fit into a header or an address."""

    def __init__(self, secrets: SecretSource, reference: SecretReference) -> None:
        self.secrets = secrets
        self._references: Sequence[SecretReference] = [reference]

    async def read(self, name: str) -> Secret:
        secret = (await self.secrets.resolve_together(self._references)).secrets[0]
        require_sendable(name, secret)
        return secret

    def forget(self) -> None:
        for reference in self._references:
            self.secrets.invalidate(reference)


def register_sas(secrets: SecretSource, sas: Secret) -> None:
    """Tell the redactor of a SAS token, and of the signature that is the secret part of it.

    Raises:
        CredentialUnavailable: It is none.
    """
    signature = sas_claims(sas.reveal()).get("sig")
    if not signature:
        raise CredentialUnavailable(detail="the secret is no SAS token: it has no sig=")
    secrets.register(sas)
    secrets.register(Secret(signature))


def _require_base64(name: str, key: Secret) -> None:
    try:
        base64.b64decode(key.reveal(), validate=True)
    except ValueError:
        raise CredentialUnavailable(detail=f"{name} is not base64, as keys are") from None


def _is_over(sas: Secret) -> bool:
    expires_at = sas_expiry(sas.reveal())
    return expires_at is not None and expires_at <= datetime.now(UTC)


def _with_sas(place: AzureCredentials, sas: Secret) -> AzureCredentials:
    return replace(place, sas_token=sas, expires_at=sas_expiry(sas.reveal()))


def _sas_name(credentials: AzureCredentials) -> str:
    shown = sas_holder(credentials.sas_token.reveal()) if credentials.sas_token else ""
    return f"{shown}, account {credentials.storage_account}"
