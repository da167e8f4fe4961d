"""Makes clients of Blob Storage that know nothing but what they are told.

What is asked of them is decided elsewhere.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.credentials import AzureCredentials
from agent.errors import CredentialUnavailable, StoreUnavailable
from agent.secret import Secret

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import BlobServiceClient

    from agent.http_session import HttpSession

_PIECE = 64 * 1024
_FAR_FUTURE = 2**40


def service_client(
    credentials: AzureCredentials, session: "HttpSession", *, most: int = 4 * 1024 * 1024
) -> "BlobServiceClient":
    """Return a client for the account of *credentials* that speaks through *session*.

    It tries each request once, follows no redirect, and reads up to *most* bytes with one request.
    The caller closes the session.

    Raises:
        CredentialUnavailable: Nobody said which account the credentials are for.
    """
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient(
        _address(credentials),
        _revealed(credentials),
        transport=transport(session),
        retry_total=0,
        permit_redirects=False,
        max_single_get_size=most,
        max_chunk_get_size=most,
    )


def session_with(ca_file: Path | None) -> "HttpSession":
    """Return a session that trusts the CA of *ca_file*, too; the caller closes it.

    Raises:
        StoreUnavailable: The file can't be read, or holds no certificate.
    """
    from agent.http_session import HttpSession

    try:
        return HttpSession(ca_file=ca_file)
    except OSError as error:
        raise StoreUnavailable(detail=f"{ca_file}: {error.strerror or 'no certificate'}") from None


def transport(session: "HttpSession") -> "RequestsTransport":
    """Return what Azure's SDKs send their requests with."""
    from azure.core.pipeline.transport import RequestsTransport

    from agent.http_session import CONNECT_SECONDS, READ_SECONDS

    return RequestsTransport(
        session=session,
        session_owner=False,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        connection_data_block_size=_PIECE,
    )


class GivenToken:
    """Gives an SDK one token, whatever it asks for; the connector minds its expiry."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: Any) -> "AccessToken":
        """Return the token, as one that need not be renewed."""
        from azure.core.credentials import AccessToken

        return AccessToken(self._token.reveal(), _FAR_FUTURE)


def _address(credentials: AzureCredentials) -> str:
    if credentials.endpoint_url is not None:
        return credentials.endpoint_url
    if credentials.storage_account is None:
        raise CredentialUnavailable(detail="the connector names no storage_account")
    return f"https://{credentials.storage_account}.blob.core.windows.net"


def _revealed(credentials: AzureCredentials) -> "TokenCredential | dict[str, str] | Any":
    from azure.core.credentials import AzureSasCredential

    if credentials.token is not None:
        return GivenToken(credentials.token)
    if credentials.sas_token is not None:
        return AzureSasCredential(credentials.sas_token.reveal())
    key = credentials.account_key
    if key is None or credentials.storage_account is None:
        raise CredentialUnavailable(detail="the connector gives no key and no token for an account")
    return {"account_name": credentials.storage_account, "account_key": key.reveal()}
