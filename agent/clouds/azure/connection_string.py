"""What a connection string of a storage account says. It is a secret as a whole."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from agent.clouds.azure.places import Place
from agent.credentials import AzureCredentials
from agent.errors import CredentialUnavailable
from agent.secret import Secret

CheckUrl = Callable[[str], None]
"""Raises ValueError for the address of an end point that is not to be used."""


def parse_connection_string(text: str, place: Place, check_url: CheckUrl) -> AzureCredentials:
    """Return the key or the SAS that *text* has, for the account that it names.

    What *place* says about the end point wins.

    Raises:
        CredentialUnavailable: It is none, or for another account than *place*; `detail` names keys
            and accounts, and never a value.
    """
    parts = _parts(text)
    endpoint = place.endpoint_url or _endpoint(parts, check_url)
    account = parts.get("accountname") or _account_in(endpoint)
    if account is None or (place.account or account) != account:
        raise CredentialUnavailable(
            detail=f"the connection string is for account {account}, not {place.account}"
        )
    found = AzureCredentials(account, endpoint, ca_file=place.ca_file)
    if "sharedaccesssignature" in parts:
        return replace(found, sas_token=Secret(parts["sharedaccesssignature"].removeprefix("?")))
    if "accountkey" in parts:
        return replace(found, account_key=Secret(parts["accountkey"]))
    raise CredentialUnavailable(detail="the connection string has no AccountKey and no SAS")


def _parts(text: str) -> Mapping[str, str]:
    pairs = [part.partition("=") for part in text.strip().split(";") if part]
    if not pairs or not all(separator for _, separator, _ in pairs):
        raise CredentialUnavailable(detail="the secret is no connection string: KEY=VALUE;...")
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _endpoint(parts: Mapping[str, str], check_url: CheckUrl) -> str | None:
    endpoint = parts.get("blobendpoint")
    if endpoint is None and "endpointsuffix" in parts and "accountname" in parts:
        protocol = parts.get("defaultendpointsprotocol", "https")
        endpoint = f"{protocol}://{parts['accountname']}.blob.{parts['endpointsuffix']}"
    if endpoint is not None:
        try:
            check_url(endpoint)
        except ValueError as error:
            raise CredentialUnavailable(detail=f"the connection string's {error}") from None
    return endpoint


def _account_in(endpoint: str | None) -> str | None:
    """Return the account of an end point as https://ACCOUNT.blob.core.windows.net."""
    host = urlsplit(endpoint or "").hostname or ""
    return host.partition(".")[0] if ".blob." in host else None
