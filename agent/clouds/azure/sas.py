"""SAS tokens as credentials. What they say about themselves is read in `claims`."""

from dataclasses import replace
from datetime import UTC, datetime

from agent.clouds.azure.claims import sas_claims, sas_expiry, sas_holder
from agent.clouds.base import SecretSource
from agent.credentials import AzureCredentials
from agent.errors import CredentialUnavailable
from agent.secret import Secret


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


def is_over(sas: Secret) -> bool:
    """Say whether a SAS token has ended, as far as it tells."""
    expires_at = sas_expiry(sas.reveal())
    return expires_at is not None and expires_at <= datetime.now(UTC)


def with_sas(place: AzureCredentials, sas: Secret) -> AzureCredentials:
    """Return *place* with a SAS token, which says itself when it ends."""
    return replace(place, sas_token=sas, expires_at=sas_expiry(sas.reveal()))


def sas_name(credentials: AzureCredentials) -> str:
    """Say for a person what the SAS token of *credentials* is good for."""
    shown = sas_holder(credentials.sas_token.reveal()) if credentials.sas_token else ""
    return f"{shown}, account {credentials.storage_account}"
