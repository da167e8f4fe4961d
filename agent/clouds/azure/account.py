"""Logins with what a storage account itself has: keys, SAS tokens and connection strings."""

import base64
from collections.abc import Sequence
from dataclasses import replace

from agent.clouds.azure.claims import sas_expiry
from agent.clouds.azure.connection_string import CheckUrl, parse_connection_string
from agent.clouds.azure.places import Place
from agent.clouds.azure.sas import is_over, register_sas, sas_name, with_sas
from agent.clouds.azure.storage import Accounts
from agent.clouds.azure.tokens import require_sendable
from agent.clouds.base import SecretSource
from agent.credentials import AzureCredentials
from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secret_reference import SecretReference


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
        return with_sas(self._place.credentials(), sas)

    async def who(self, credentials: AzureCredentials) -> str:
        return sas_name(credentials)

    def forget(self) -> None:
        self._stored.forget()

    async def _current(self) -> Secret:
        sas = await self._read()
        if is_over(sas):
            # The customer renews it; what we kept of it may be older than that.
            self.forget()
            sas = await self._read()
        if is_over(sas):
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
            return with_sas(found, found.sas_token)
        if found.account_key is not None:
            self._secrets.register(found.account_key)
            _require_base64("AccountKey", found.account_key)
        return found

    async def who(self, credentials: AzureCredentials) -> str:
        if credentials.sas_token is not None:
            return sas_name(credentials)
        return await self._accounts.who(credentials)

    def forget(self) -> None:
        self._secrets.invalidate(self._reference)


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


def _require_base64(name: str, key: Secret) -> None:
    try:
        base64.b64decode(key.reveal(), validate=True)
    except ValueError:
        raise CredentialUnavailable(detail=f"{name} is not base64, as keys are") from None
