"""The credentials that connectors hand out, one type for each kind of service. No I/O lives here.

All are frozen and comparable, so that a store can say which ones were refused, and all have
*expires_at*, which is None where nobody knows of an end. A *ca_file* is a PEM file of a private CA
to trust at the service, beside the usual ones.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from agent.secret import Secret


@dataclass(frozen=True, slots=True)
class S3Access:
    """How the buckets of a service are asked for."""

    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Where a bucket's name goes: into the path, or into the host's name."""
    requester_pays: bool = False
    """Whether who asks pays, for buckets whose owners want that."""


USUAL_S3 = S3Access()


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """For AWS or an S3-compatible store, with where they are good for."""

    access_key_id: Secret
    secret_access_key: Secret
    session_token: Secret | None
    region: str | None
    endpoint_url: str | None
    expires_at: datetime | None = None
    ca_file: Path | None = None
    s3: S3Access = USUAL_S3


@dataclass(frozen=True, slots=True)
class GcpCredentials:
    """An OAuth 2 access token for Google Cloud."""

    token: Secret
    project_id: str | None
    endpoint_url: str | None
    """Of Cloud Storage; None is Google's own."""
    expires_at: datetime | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class AzureCredentials:
    """For one storage account; exactly one of *account_key*, *sas_token* and *token* is there."""

    storage_account: str | None
    endpoint_url: str | None
    """Of the account's blobs; None is ``https://ACCOUNT.blob.core.windows.net``."""
    account_key: Secret | None = None
    sas_token: Secret | None = None
    token: Secret | None = None
    expires_at: datetime | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class KubernetesCredentials:
    """For one cluster: a bearer token, a client certificate, or a user and password."""

    server: str
    token: Secret | None = None
    client_certificate: Secret | None = None
    """PEM text, as is *client_key*."""
    client_key: Secret | None = None
    username: Secret | None = None
    password: Secret | None = None
    certificate_authority: Secret | None = None
    """PEM text; None trusts the usual CAs."""
    namespace: str | None = None
    verify_tls: bool = True
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RegistryCredentials:
    """For a registry of container images."""

    registry: str
    username: Secret
    password: Secret
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HttpCredentials:
    """For a service that takes an ``Authorization`` header, such as MLflow or ZenML."""

    authorization: Secret | None
    """The whole value of the header; None sends none."""
    endpoint_url: str | None = None
    expires_at: datetime | None = None
    ca_file: Path | None = None


Credentials = (
    AwsCredentials
    | GcpCredentials
    | AzureCredentials
    | KubernetesCredentials
    | RegistryCredentials
    | HttpCredentials
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who credentials are, as the service names it; never a secret."""

    name: str
    expires_at: datetime | None = None
