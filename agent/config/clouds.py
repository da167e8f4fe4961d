"""How to log in to a cloud; connectors and the clouds' own secret stores share these keys."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from agent.config.parts import Part, Reference, require_safe_url
from agent.config.units import Duration


def _require(part: Part, method: str, needed: dict[str, tuple[str, ...]]) -> None:
    missing = [key for key in needed.get(method, ()) if getattr(part, key) is None]
    if missing:
        raise ValueError(f"method {method} needs {', '.join(missing)}")


class AwsLogin(Part):
    """Login to AWS, or to a service that speaks its protocol."""

    method: Literal[
        "implicit",
        "secret-key",
        "session-token",
        "sts-token",
        "iam-role",
        "federation-token",
        "web-identity",
    ] = "implicit"
    """``implicit`` is what the host offers; ``secret-key`` is a key, and ``sts-token`` one with a
    token that the customer issues; ``session-token`` and ``federation-token`` have STS issue
    temporary credentials for a key; ``iam-role`` assumes `role_arn`, and ``web-identity`` does so
    with the token of a Kubernetes or OIDC identity."""
    region: str | None = None
    """Default: us-east-1; with `implicit`, what the host's AWS configuration says."""
    endpoint_url: str | None = None
    """Where the service is, when that is not where AWS has it: S3, EKS, ECR or the secrets."""
    sts_endpoint_url: str | None = None
    """Where STS is. Default: `endpoint_url` where that is set, else AWS."""
    ca_file: Path | None = None
    """PEM file with the private CA that signed the certificates of both."""
    access_key_id: Reference | None = None
    """Id of the key; `implicit` and `web-identity` have none, and `iam-role` takes what the host
    offers where there is none."""
    secret_access_key: Reference | None = None
    """The key that goes with `access_key_id`."""
    session_token: Reference | None = None
    """For `sts-token`."""
    role_arn: str | None = None
    """The role to assume, for `iam-role` and `web-identity`."""
    web_identity_token_file: Path | None = None
    """File with the identity's token, for `web-identity`; read at every login."""
    session_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,.@-]{2,32}$")] = "cloud-agent"
    """What the session is called in AWS's own logs."""
    external_id: str | None = None
    """What the role's trust policy may ask for."""
    session_policy: dict[str, JsonValue] | None = None
    """An IAM policy that narrows the credentials of `iam-role`, `web-identity` and
    `federation-token`. Default: to reading the artifact stores that use this connector; for other
    uses none."""
    duration: Duration = 3600.0
    """How long credentials are to live that STS issues."""

    @model_validator(mode="after")
    def _method_has_its_keys(self) -> Self:
        key = ("access_key_id", "secret_access_key")
        _require(
            self,
            self.method,
            {
                "secret-key": key,
                "session-token": key,
                "federation-token": key,
                "sts-token": (*key, "session_token"),
                "iam-role": ("role_arn",),
                "web-identity": ("role_arn", "web_identity_token_file"),
            },
        )
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        return self


class GcpLogin(Part):
    """Login to Google Cloud."""

    method: Literal[
        "implicit",
        "user-account",
        "service-account",
        "external-account",
        "oauth2-token",
        "impersonation",
    ] = "implicit"
    """``implicit`` is what the host offers (workload identity, metadata server, application
    default credentials); ``service-account`` is such an account's key, ``user-account`` a person's
    login; ``external-account`` is workload identity federation; ``oauth2-token`` is a token that
    the customer issues; ``impersonation`` has a service account, or what the host offers, stand for
    `target_principal`."""
    project_id: str | None = None
    """Default: the project that the credentials name."""
    user_account_json: Reference | None = None
    """For `user-account`: an authorized user's file."""
    service_account_json: Reference | None = None
    """For `service-account`; for `impersonation` who impersonates, default: the host's identity."""
    external_account_json: Reference | None = None
    """For `external-account`: the configuration file of workload identity federation."""
    token: Reference | None = None
    """For `oauth2-token`: an access token that the customer renews in the secret store."""
    target_principal: Annotated[str, Field(pattern=r"^[^\s/@]+@[^\s/@]+$")] | None = None
    """For `impersonation`: the e-mail address of a service account."""
    duration: Duration = 3600.0
    """How long a token of `impersonation` is to live."""
    ca_file: Path | None = None
    """PEM file with a private CA, where a proxy or a compatible service needs it."""
    sts_endpoint_url: str | None = None
    """Where tokens are narrowed. Default: https://sts.googleapis.com."""
    iam_endpoint_url: str | None = None
    """Where `impersonation` is asked for. Default: https://iamcredentials.googleapis.com."""
    tokeninfo_endpoint_url: str | None = None
    """Where it is asked whose a token is. Default: https://oauth2.googleapis.com."""

    @model_validator(mode="after")
    def _method_has_its_keys(self) -> Self:
        _require(
            self,
            self.method,
            {
                "user-account": ("user_account_json",),
                "service-account": ("service_account_json",),
                "external-account": ("external_account_json",),
                "oauth2-token": ("token",),
                "impersonation": ("target_principal",),
            },
        )
        for key in ("sts_endpoint_url", "iam_endpoint_url", "tokeninfo_endpoint_url"):
            require_safe_url(key, getattr(self, key))
        return self


class AzureLogin(Part):
    """Login to Microsoft Entra."""

    method: Literal[
        "implicit",
        "service-principal",
        "access-token",
        "workload-identity",
        "managed-identity",
        "account-key",
        "sas-token",
        "connection-string",
    ] = "implicit"
    """``implicit`` is what the host offers (environment, workload identity, managed identity);
    ``account-key``, ``sas-token`` and ``connection-string`` are for storage accounts alone."""
    tenant_id: str | None = None
    """For `service-principal` and `workload-identity`."""
    client_id: str | None = None
    """Of the application, for `service-principal` and `workload-identity`; of a user-assigned
    identity, for `managed-identity` and `implicit`."""
    client_secret: Reference | None = None
    """For `service-principal`."""
    token_file: Path | None = None
    """File with the identity's token, for `workload-identity`; read at every login. Default: what
    AZURE_FEDERATED_TOKEN_FILE names."""
    token: Reference | None = None
    """For `access-token`: one that the customer renews in the secret store."""
    account_key: Reference | None = None
    """For `account-key`."""
    sas_token: Reference | None = None
    """For `sas-token`; with or without the question mark before it."""
    connection_string: Reference | None = None
    """For `connection-string`."""
    authority_host: str | None = None
    """Where Entra is, of another cloud than Azure's public one, as
    https://login.chinacloudapi.cn."""
    ca_file: Path | None = None
    """PEM file with a private CA, where a proxy or a compatible service needs it."""

    @model_validator(mode="after")
    def _method_has_its_keys(self) -> Self:
        _require(
            self,
            self.method,
            {
                "service-principal": ("tenant_id", "client_id", "client_secret"),
                "workload-identity": ("tenant_id", "client_id"),
                "access-token": ("token",),
                "account-key": ("account_key",),
                "sas-token": ("sas_token",),
                "connection-string": ("connection_string",),
            },
        )
        require_safe_url("authority_host", self.authority_host)
        return self


class KubernetesLogin(Part):
    """Login to a cluster."""

    method: Literal["in-cluster", "kubeconfig", "token", "password", "client-certificate"] = (
        "in-cluster"
    )
    """``in-cluster`` is the pod's own service account. A setting that a method does not use is an
    error."""
    kubeconfig_file: Path | None = None
    """For `kubeconfig`; read again at least once a minute."""
    context: str | None = None
    """For `kubeconfig`: which of its contexts. Default: its current one."""
    server: str | None = None
    """The cluster's API, as https://kubernetes:6443; for `token`, `password` and
    `client-certificate`."""
    certificate_authority: Reference | None = None
    """PEM text of the CA that signed the certificate of `server`, which alone is then trusted."""
    ca_file: Path | None = None
    """Or the file that holds that text."""
    token: Reference | None = None
    """For `token`."""
    username: Reference | None = None
    """For `password`."""
    password: Reference | None = None
    """For `password`."""
    client_certificate: Reference | None = None
    """For `client-certificate`; PEM text."""
    client_key: Reference | None = None
    """The key that goes with `client_certificate`; PEM text."""
    insecure: bool = False
    """Don't verify the server's certificate. Anybody on the way can then read the credentials."""

    @model_validator(mode="after")
    def _method_has_its_keys(self) -> Self:
        needed = {
            "kubeconfig": ("kubeconfig_file",),
            "token": ("server", "token"),
            "password": ("server", "username", "password"),
            "client-certificate": ("server", "client_certificate", "client_key"),
        }
        _require(self, self.method, needed)
        taken = {"in-cluster": (), "kubeconfig": ("context", "insecure")}.get(
            self.method, ("certificate_authority", "ca_file", "insecure")
        )
        self._refuse_others({*taken, *needed.get(self.method, ())})
        if self.certificate_authority is not None and self.ca_file is not None:
            raise ValueError("certificate_authority and ca_file exclude each other")
        require_safe_url("server", self.server)
        return self

    def _refuse_others(self, taken: set[str]) -> None:
        """Refuse what the method would pass over, such as another CA than the kubeconfig's."""
        for key in KubernetesLogin.model_fields.keys() - taken - {"method"}:
            if getattr(self, key):
                raise ValueError(f"{key}: is of no use with method {self.method}")
