"""What a login asks of Blob Storage: who a key is, and a SAS token that can do less than a token.

Reading blobs is not done here.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from agent.clouds.azure.blob_service import service_client, session_with
from agent.clouds.azure.delegation import Grant
from agent.clouds.azure.errors import translated
from agent.credentials import AzureCredentials
from agent.errors import CredentialUnavailable, StoreUnavailable
from agent.secret import Secret
from agent.threads import Threads

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

T = TypeVar("T")

_DEADLINE = 20.0
_THREADS = 4
_LIFE = timedelta(hours=1)
_CLOCKS_DIFFER = timedelta(minutes=5)


class Accounts:
    """Asks the account that credentials are for; every call runs in a thread.

    Each raises AccessDenied when the account refuses them, and StoreUnavailable when it does not
    answer within twenty seconds.
    """

    def __init__(self) -> None:
        self._threads = Threads("azure-accounts", size=_THREADS)

    async def who(self, credentials: AzureCredentials) -> str:
        """Return what kind of account the key of *credentials* opens."""
        return await self._asked(credentials, _described)

    async def delegated_sas(self, credentials: AzureCredentials, container: str) -> Secret:
        """Return a SAS that lists and reads *container* for the holder of the token, for an hour.

        It ends with the token, where that ends sooner.
        """
        now = datetime.now(UTC)
        ends = min(now + _LIFE, credentials.expires_at or now + _LIFE)
        return await self._asked(
            credentials, lambda client: _delegated(client, container, now - _CLOCKS_DIFFER, ends)
        )

    async def _asked(
        self, credentials: AzureCredentials, ask: Callable[["BlobServiceClient"], T]
    ) -> T:
        try:
            async with asyncio.timeout(_DEADLINE):
                return await self._threads.run(partial(_asked, credentials, ask))
        except TimeoutError:
            detail = f"the account did not answer within {_DEADLINE:.0f} s"
            raise StoreUnavailable(detail=detail) from None


def _asked(credentials: AzureCredentials, ask: Callable[["BlobServiceClient"], T]) -> T:
    with closing(session_with(credentials.ca_file)) as session, translated():
        return ask(service_client(credentials, session))


def _described(client: "BlobServiceClient") -> str:
    kind = client.get_account_information().get("account_kind")
    return f"the key of storage account {client.account_name} ({kind})"


def _delegated(
    client: "BlobServiceClient", container: str, starts: datetime, ends: datetime
) -> Secret:
    if client.account_name is None:
        raise CredentialUnavailable(detail="the connector names no storage_account")
    key = client.get_user_delegation_key(starts, ends)
    return Grant(client.account_name, container, starts, ends).signed(key)
