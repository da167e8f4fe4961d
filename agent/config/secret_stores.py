"""Secret stores: where the customer keeps secrets, and how the agent logs in there."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from agent.config.clouds import AwsLogin, AzureLogin, GcpLogin, KubernetesLogin
from agent.config.parts import Part, require_safe_url
from agent.config.plugged import or_plugged
from agent.config.units import Duration


class VaultToken(Part):
    """Log in with a token."""

    method: Literal["token"]
    token_file: Path | None = None
    """Default: VAULT_TOKEN from the environment."""


class VaultAppRole(Part):
    """Log in with an AppRole."""

    method: Literal["approle"]
    role_id: str | None = None
    """The role id itself, which is no secret."""
    role_id_file: Path | None = None
    """Or the file that holds it."""
    secret_id_file: Path
    """Read at every login, so that it can be rotated."""
    secret_id_is_wrapped: bool = False
    """The file holds a wrapping token instead, which is good for one unwrapping: each start of the
    agent needs a new one."""
    mount: str = "approle"
    """Where the AppRole method is mounted."""


class VaultKubernetes(Part):
    """Log in as the pod's service account."""

    method: Literal["kubernetes"]
    role: str
    """Vault's role."""
    token_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    """Of the service account, or a projected one; read at every login."""
    mount: str = "kubernetes"
    """Where the Kubernetes method is mounted."""


class VaultJwt(Part):
    """Log in with a JWT, such as a workload identity's."""

    method: Literal["jwt"]
    role: str
    """Vault's role."""
    token_file: Path
    """Holds the JWT; read at every login."""
    mount: str = "jwt"
    """Where the JWT method is mounted."""


class VaultUserpass(Part):
    """Log in with a user and a password."""

    method: Literal["userpass"]
    username: str
    password_file: Path
    """Read at every login."""
    mount: str = "userpass"
    """Where the userpass method is mounted."""


class VaultCertificate(Part):
    """Log in with a TLS certificate."""

    method: Literal["cert"]
    cert_file: Path
    """PEM file with the certificate; read at every login."""
    key_file: Path
    """PEM file with its key, without a passphrase."""
    role: str | None = None
    """Vault's role; default: the one that fits the certificate."""
    mount: str = "cert"
    """Where the certificate method is mounted."""


VaultAuth = Annotated[
    VaultToken | VaultAppRole | VaultKubernetes | VaultJwt | VaultUserpass | VaultCertificate,
    Field(discriminator="method"),
]


class VaultSecretStore(Part):
    """HashiCorp Vault or OpenBao."""

    type: Literal["vault"]
    address: str
    """As https://vault:8200; http:// only to a loopback address, or with allow_plaintext."""
    ca_file: Path | None = None
    """PEM file with the private CA that signed Vault's certificate."""
    namespace: str | None = None
    """Of Vault Enterprise and OpenBao."""
    mount: str = "secret"
    """Mount of the KV engine that references are looked up in."""
    engine: Literal["auto", "kv1", "kv2", "dynamic"] = "auto"
    """``auto`` asks Vault for the version of the KV engine; ``dynamic`` reads the path as it
    stands, without `mount`, as for database/creds/ROLE, and the lease is renewed while it is in use
    and revoked when that is over."""
    auth: VaultAuth
    """How the agent logs in."""
    cache: Duration = 300.0
    """How long a value without a lease is kept."""
    allow_plaintext: bool = False
    """Permit http:// to an address that is not loopback."""

    @model_validator(mode="after")
    def _address_is_safe(self) -> Self:
        require_safe_url("address", self.address, allow_plaintext=self.allow_plaintext)
        return self


class FileSecretStore(Part):
    """Files below one directory, as Kubernetes and Docker mount secrets."""

    type: Literal["file"]
    root: Path
    """A reference names a file below it; no link leads out."""
    cache: Duration = 30.0
    """How long a value is kept at most; a file that was changed or swapped is read again at
    once."""


class EnvSecretStore(Part):
    """Environment variables whose names start with a prefix."""

    type: Literal["env"]
    prefix: str = ""
    """A reference names the rest of the variable's name."""
    cache: Duration = 300.0
    """How long a value is kept."""


class _AwsSecrets(AwsLogin):
    """What both of AWS's secret stores have: they send secrets to no end point in plain text."""

    @model_validator(mode="after")
    def _end_points_are_safe(self) -> Self:
        for key in ("endpoint_url", "sts_endpoint_url"):
            require_safe_url(key, getattr(self, key))
        return self


class AwsSecretsManager(_AwsSecrets):
    """AWS Secrets Manager."""

    type: Literal["aws-secrets-manager"]
    prefix: str = ""
    """Put before the path of every reference."""
    cache: Duration = 300.0
    """How long a value is kept."""


class AwsParameterStore(_AwsSecrets):
    """Parameters of AWS Systems Manager, encrypted ones too."""

    type: Literal["aws-parameter-store"]
    prefix: str = ""
    """Put before the path of every reference, as /prod/."""
    cache: Duration = 300.0
    """How long a value is kept."""


class GcpSecretManager(GcpLogin):
    """Google Cloud Secret Manager; needs the extra ``gcp-secret-manager``."""

    type: Literal["gcp-secret-manager"]
    prefix: str = ""
    """Put before the path of every reference."""
    endpoint_url: str | None = None
    """Of a compatible or regional service; default: Google's."""
    cache: Duration = 300.0
    """How long a value is kept."""

    @model_validator(mode="after")
    def _url_is_safe(self) -> Self:
        require_safe_url("endpoint_url", self.endpoint_url)
        return self


class AzureKeyVault(AzureLogin):
    """Azure Key Vault; needs the extra ``azure-key-vault``."""

    type: Literal["azure-key-vault"]
    vault_url: str
    """As https://example.vault.azure.net."""
    resource: str | None = None
    """What tokens are issued for; default: the domain of `vault_url`, as https://vault.azure.net.
    Set it only where the vault has a private host name."""
    cache: Duration = 300.0
    """How long a value is kept."""

    @model_validator(mode="after")
    def _url_is_safe(self) -> Self:
        for key in ("vault_url", "resource"):
            require_safe_url(key, getattr(self, key))
        return self

    @property
    def audience(self) -> str:
        """What tokens are issued for."""
        domain = (urlsplit(self.vault_url).hostname or "").partition(".")[2]
        return (self.resource or f"https://{domain}").rstrip("/")


class KubernetesSecrets(KubernetesLogin):
    """Secrets of a Kubernetes namespace, by its API; needs the extra ``kubernetes``."""

    type: Literal["kubernetes"]
    namespace: str | None = None
    """Default: the pod's own, or that of the kubeconfig."""
    cache: Duration = 60.0
    """How long a value is kept."""


SecretStore = Annotated[
    VaultSecretStore
    | FileSecretStore
    | EnvSecretStore
    | AwsSecretsManager
    | AwsParameterStore
    | GcpSecretManager
    | AzureKeyVault
    | KubernetesSecrets,
    Field(discriminator="type"),
    or_plugged("cloud_agent.secret_stores", "type"),
]
