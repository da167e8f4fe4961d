"""Builds logins to Azure from settings."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import assert_never

from agent.artifact_uri import ArtifactUri
from agent.clouds.azure import entra
from agent.clouds.azure.account import ConnectionString, StoredKey, StoredSas
from agent.clouds.azure.bearer import Bearer, Delegated
from agent.clouds.azure.entra import Authority, EntraTokens
from agent.clouds.azure.login import AzureLogin, Method
from agent.clouds.azure.places import Place, containers, placed
from agent.clouds.azure.storage import Accounts
from agent.clouds.azure.tokens import StoredToken, TokenSource
from agent.clouds.base import SecretSource
from agent.config import clouds as config
from agent.config.parts import require_safe_url
from agent.credentials import AzureCredentials
from agent.errors import UsageError

STORAGE_SCOPE = "https://storage.azure.com/.default"
_PUBLIC = "https://login.microsoftonline.com"


def open_azure_login(
    name: str,
    azure: config.AzureLogin,
    secrets: SecretSource,
    place: Place,
    *,
    readable: Sequence[ArtifactUri] = (),
    narrow: bool = True,
) -> AzureLogin[AzureCredentials]:
    """Return the login to a storage account that *azure* describes; does no I/O, loads no SDK.

    With *narrow*, a token that could read more is exchanged for one that reads the container of
    *readable*, and nothing else.

    Raises:
        UsageError: The account is not named, there are several, or several containers to narrow a
            token to; a package is missing.
    """
    where = f"connector {name}"
    place = placed(where, place, readable)
    narrowed_to = containers(readable) if narrow else ()
    method = _stored(where, azure, secrets, place) or _issued(
        where, azure, secrets, place, narrowed_to=narrowed_to
    )
    return AzureLogin(name, AzureCredentials, method)


def open_token_login(
    name: str, azure: config.AzureLogin, secrets: SecretSource, *, scope: str
) -> AzureLogin[AzureCredentials]:
    """Return the login that gives tokens of Microsoft Entra for *scope*, and for no account.

    Raises:
        UsageError: The method gives none, or a package is missing.
    """
    tokens = open_tokens(name, azure, secrets)
    return AzureLogin(name, AzureCredentials, Bearer(tokens, scope, Place(ca_file=azure.ca_file)))


def open_tokens(where: str, azure: config.AzureLogin, secrets: SecretSource) -> TokenSource:
    """Return where *azure* has tokens of Microsoft Entra from; does no I/O, loads no SDK.

    Raises:
        UsageError: The method gives none, or a package is missing.
    """
    if azure.method == "access-token" and azure.token is not None:
        return StoredToken(secrets, azure.token)
    make = _make(azure)
    if make is None:
        raise UsageError(f"{where}: method {azure.method} is for a storage account alone")
    require_package("azure.identity", where, f"method {azure.method}", extra="azure")
    references = [azure.client_secret] if azure.client_secret is not None else []
    # What a platform injects into its workloads names the authority, too.
    host = azure.authority_host or (_PUBLIC if azure.method == "service-principal" else None)
    authority = Authority(host, azure.ca_file)
    metadata = azure.method in ("managed-identity", "implicit")
    return EntraTokens(secrets, references, authority, make, metadata=metadata)


def require_package(package: str, where: str, what: str, *, extra: str) -> None:
    """Refuse to go on without *package*, which *extra* installs; loads no SDK.

    Raises:
        UsageError: It is missing.
    """
    try:
        found = find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise UsageError(
            f"{where}: {what} needs the extra {extra}: pip install 'cloud-agent[{extra}]'"
        )


def _make(azure: config.AzureLogin) -> entra.Make | None:
    tenant_id, client_id = azure.tenant_id or "", azure.client_id or ""
    match azure.method:
        case "service-principal":
            return entra.client_secret(tenant_id, client_id)
        case "workload-identity":
            return entra.workload_identity(tenant_id, client_id, azure.token_file)
        case "managed-identity":
            return entra.managed_identity(azure.client_id)
        case "implicit":
            return entra.implicit(azure.client_id)
        case "access-token" | "account-key" | "sas-token" | "connection-string":
            return None
    assert_never(azure.method)


def _stored(
    where: str, azure: config.AzureLogin, secrets: SecretSource, place: Place
) -> Method[AzureCredentials] | None:
    """Return the method that uses a storage account's own secret, if it is one."""
    if azure.method == "connection-string" and azure.connection_string is not None:
        return ConnectionString(
            secrets, azure.connection_string, place, Accounts(), check_url=_check_url
        )
    if azure.method == "account-key" and azure.account_key is not None:
        return StoredKey(secrets, azure.account_key, _named(where, place), Accounts())
    if azure.method == "sas-token" and azure.sas_token is not None:
        return StoredSas(secrets, azure.sas_token, _named(where, place))
    return None


def _issued(
    where: str,
    azure: config.AzureLogin,
    secrets: SecretSource,
    place: Place,
    *,
    narrowed_to: Sequence[str],
) -> Method[AzureCredentials]:
    bearer = Bearer(open_tokens(where, azure, secrets), STORAGE_SCOPE, place)
    if not narrowed_to:
        return bearer
    if len(narrowed_to) > 1:
        raise UsageError(
            f"{where}: its token can't be narrowed to several containers, which are "
            f"{', '.join(narrowed_to)}; use a connector for each, or set narrow: false"
        )
    _named(where, place)
    return Delegated(secrets, bearer, Accounts(), narrowed_to[0])


def _named(where: str, place: Place) -> Place:
    if place.account is None:
        raise UsageError(f"{where}: set storage_account")
    return place


def _check_url(url: str) -> None:
    require_safe_url("BlobEndpoint", url)
