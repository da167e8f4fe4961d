"""What can be configured: one frozen tree. Reading files and the environment is `load`'s part."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from agent.artifact_uri import ArtifactUri
from agent.config.units import Duration, Size
from agent.secret_reference import SecretReference

Parameter = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

# Written out, since the guard reads settings and must not reach the protocol through them.
_CONNECT_PATH = "/agent/v1/connect"


class Part(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


def _reference_schema(schema: dict[str, Any]) -> None:
    schema.clear()
    schema.update(type="string", pattern=r"^secret://[^/]+/[^#\s]+(#\S+)?$")


Reference = Annotated[
    SecretReference,
    BeforeValidator(SecretReference.parse),
    Field(json_schema_extra=_reference_schema),
]


class ClientCertificate(Part):
    """A certificate for mutual TLS, PEM files."""

    cert_file: Path
    """The certificate, and those between it and the CA."""
    key_file: Path
    """Its private key, without a passphrase."""


class Backoff(Part):
    """Delays between attempts to connect: doubled each time, and each drawn between 0 and that."""

    first: Duration = 0.5
    """The bound of the first delay."""
    longest: Duration = 30.0
    """The bound that doubling ends at."""
    stable_after: Duration = 10.0
    """A connection that lasted so long begins again at `first`."""


class ControlPlane(Part):
    """Where the agent dials, and what it trusts there."""

    url: str = "wss://cloud.example.com/agent/v1/connect"
    """The agent end point of the control plane; ws:// only to a loopback address."""
    join_token_file: Path | None = None
    """Holds the one-time join token; needed for the first start only."""
    ca_file: Path | None = None
    """PEM file with the private CA that signed the control plane's certificate."""
    client_certificate: ClientCertificate | None = None
    """For mutual TLS."""
    proxy: str | None = None
    """Like http://user:password@proxy:3128, https://, socks5:// or socks5h://.

    Default: what HTTPS_PROXY and NO_PROXY say."""
    allow_plaintext: bool = False
    """Permit ws:// to an address that is not loopback."""
    backoff: Backoff = Backoff()

    @field_validator("proxy")
    @classmethod
    def _proxy_is_known(cls, proxy: str | None) -> str | None:
        parts = urlsplit(proxy or "http://proxy:3128")
        if parts.scheme not in ("http", "https", "socks5", "socks5h") or not _has_host(parts):
            raise ValueError(
                "should be like http://proxy:3128 or socks5h://user:password@proxy:1080"
            )
        return proxy

    @model_validator(mode="after")
    def _url_is_safe(self) -> Self:
        parts = urlsplit(self.url)
        if (
            parts.scheme not in ("ws", "wss")
            or not parts.hostname
            or not parts.path.endswith(_CONNECT_PATH)
        ):
            raise ValueError("url: should be like wss://cloud.example.com/agent/v1/connect")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "url: no user, password, query or fragment; the agent proves itself by its key"
            )
        if parts.scheme == "ws" and not self.allow_plaintext and not _is_loopback(parts.hostname):
            raise ValueError(
                "url: use wss://, or set allow_plaintext: true for ws:// to another host"
            )
        return self


def _has_host(parts: SplitResult) -> bool:
    try:
        return bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Agent(Part):
    """The agent itself."""

    name: Name = "agent"
    """Of the logical agent; replicas share it."""
    labels: dict[str, str] = {}
    """For choosing agents at the control plane."""
    state_dir: Path = Path("/var/lib/cloud-agent")
    """Key, journal, audit log and runs; must outlive the process."""
    max_concurrent_jobs: Annotated[int, Field(ge=1, le=1000)] = 16
    """More are refused as busy, and offered again by the control plane."""
    drain_deadline: Duration = 300.0
    """How long a stopping agent lets running jobs go on."""
    buffer_memory: Size = 64 * 1024 * 1024
    """Ceiling for artifact data held in memory, over all jobs."""


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
    mount: str = "approle"
    """Where the AppRole method is mounted."""


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
    """Where references are looked up, a KV engine of version 1 or 2, found out by itself."""
    engine: Literal["auto", "kv1", "kv2", "dynamic"] = "auto"
    """``dynamic`` reads the path as it stands, as for database/creds/ROLE, and keeps its lease."""
    auth: Annotated[VaultToken | VaultAppRole, Field(discriminator="method")]
    """How the agent logs in."""
    cache: Duration = 300.0
    """How long a value without a lease is kept."""
    allow_plaintext: bool = False
    """Permit http:// to an address that is not loopback."""

    @model_validator(mode="after")
    def _address_is_safe(self) -> Self:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("address: should be like https://vault:8200")
        if parts.scheme == "http" and not self.allow_plaintext and not _is_loopback(parts.hostname):
            raise ValueError("address: use https://, or set allow_plaintext: true")
        return self


class FileSecretStore(Part):
    """Files below one directory, as Kubernetes and Docker mount secrets."""

    type: Literal["file"]
    root: Path
    """A reference names a file below it; no link leads out."""
    cache: Duration = 30.0
    """How long a value is kept before its file is read again."""


class EnvSecretStore(Part):
    """Environment variables whose names start with a prefix."""

    type: Literal["env"]
    prefix: str = ""
    """A reference names the rest of the variable's name."""
    cache: Duration = 300.0
    """How long a value is kept."""


SecretStore = Annotated[
    VaultSecretStore | FileSecretStore | EnvSecretStore, Field(discriminator="type")
]


class AwsConnector(Part):
    """Credentials for AWS and S3-compatible stores."""

    type: Literal["aws"]
    method: Literal["implicit", "secret-key", "session-token", "sts-token", "iam-role"] = "implicit"
    """``sts-token`` holds a token the customer issued; ``session-token`` has STS issue one from a
    key; ``iam-role`` assumes `role_arn`; ``implicit`` is what the host offers."""
    region: str | None = None
    """Default: us-east-1; with `implicit`, what the host's AWS configuration says."""
    endpoint_url: str | None = None
    """Of an S3-compatible store; default: AWS."""
    sts_endpoint_url: str | None = None
    """Default: `endpoint_url` where that is set, else AWS."""
    ca_file: Path | None = None
    """PEM file with the private CA that signed their certificates."""
    access_key_id: Reference | None = None
    """Not for `implicit`; `iam-role` does without where the host offers a key."""
    secret_access_key: Reference | None = None
    """Goes with `access_key_id`."""
    session_token: Reference | None = None
    """For `sts-token`."""
    role_arn: str | None = None
    """For `iam-role`."""
    session_name: str = "cloud-agent"
    """What the assumed role's session is called in AWS's own logs."""
    external_id: str | None = None
    """What the role's trust policy may ask for."""
    session_policy: dict[str, JsonValue] | None = None
    """Narrows the assumed role."""
    duration: Duration = 3600.0
    """Asked of STS."""

    @model_validator(mode="after")
    def _method_has_its_keys(self) -> Self:
        needed = {"secret-key": ("access_key_id", "secret_access_key"),
                  "session-token": ("access_key_id", "secret_access_key"),
                  "sts-token": ("access_key_id", "secret_access_key", "session_token"),
                  "iam-role": ("role_arn",), "implicit": ()}[self.method]  # fmt: skip
        missing = [key for key in needed if getattr(self, key) is None]
        if missing:
            raise ValueError(f"method {self.method} needs {', '.join(missing)}")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        return self


Connector = AwsConnector


class ArtifactStore(Part):
    """A place where artifacts live; every artifact below *uri* is read through it."""

    name: Name
    """For people, logs and check-connector."""
    uri: str
    """As s3://bucket/prefix or file:///directory; no two stores have the same."""
    connector: str | None = None
    """Required for s3://, of no use for file://."""

    @model_validator(mode="after")
    def _uri_is_valid(self) -> Self:
        ArtifactUri.parse(self.uri)
        return self

    @property
    def root(self) -> ArtifactUri:
        return ArtifactUri.parse(self.uri)


class ProcessPipeline(Part):
    """A pipeline that is a local command."""

    name: Name
    """What a job names."""
    runner: Literal["process"]
    command: Annotated[list[str], Field(min_length=1)]
    """Started without a shell; ``{parameter}`` stands for its value, within one argument."""
    directory: Path = Path("/")
    """Where the command starts."""
    parameters: dict[Parameter, dict[str, JsonValue]] = {}
    """A JSON Schema for each parameter; one without a default is required."""
    environment: dict[str, Reference | str] = {}
    """Added to PATH, HOME, LANG and CLOUD_AGENT_RUN_ID; the pipeline sees nothing else."""
    timeout: Duration = 86400.0
    """A run that lasts longer is stopped."""
    stop_grace: Duration = 10.0
    """Between the request to end and the kill."""
    log_limit: Size = 64 * 1024 * 1024
    """The log is cut there, with a line that says so."""


Pipeline = ProcessPipeline


class PolicyRule(Part):
    """Allows or denies kinds of jobs on what the patterns match.

    An absent pattern list matches everything.
    """

    allow: list[str] | Literal["*"] | None = None
    """Kinds of jobs, or "*" for all."""
    deny: list[str] | Literal["*"] | None = None
    """The same; a deny wins over every allow, whatever their order."""
    artifacts: list[str] | None = None
    """Patterns of URIs, as in s3://bucket/prod/** or **/pii/**."""
    pipelines: list[str] | None = None
    """Patterns of names, as in train-*."""
    connectors: list[str] | None = None
    """Patterns of names, too."""
    max_bytes: Size | None = None
    """With allow only: the largest content of one job."""

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        if (self.allow is None) == (self.deny is None):
            raise ValueError("a rule has either allow or deny")
        if self.deny is not None and self.max_bytes is not None:
            raise ValueError("max_bytes goes with allow")
        return self


class Policy(Part):
    """What the control plane may ask for: nothing, unless a rule allows it and none denies it."""

    rules: list[PolicyRule] = []
    """Their order does not matter, but for which allow sets `max_bytes`: the first that matches."""


class Log(Part):
    """The agent's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the agent's own events; libraries are held at warning."""
    format: Literal["json", "console"] = "json"
    """Lines for programs, or for people."""


class Telemetry(Part):
    """Health, metrics and logs."""

    listen: str | None = "127.0.0.1:9464"
    """Address of /livez, /readyz and /metrics; null listens nowhere."""
    log: Log = Log()

    @field_validator("listen")
    @classmethod
    def _listen_is_an_address(cls, listen: str | None) -> str | None:
        if listen is not None and not _has_host(urlsplit(f"//{listen}")):
            raise ValueError("should be HOST:PORT, as in 127.0.0.1:9464 or [::1]:9464")
        return listen


class Audit(Part):
    """The record of every decision and use of a credential."""

    file: Path | None = None
    """Default: audit.jsonl in the state directory."""


class Settings(Part):
    """The whole configuration."""

    control_plane: ControlPlane = ControlPlane()
    agent: Agent = Agent()
    secret_stores: dict[Name, SecretStore] = {}
    connectors: dict[Name, Connector] = {}
    artifact_stores: list[ArtifactStore] = []
    pipelines: list[Pipeline] = []
    policy: Policy = Policy()
    telemetry: Telemetry = Telemetry()
    audit: Audit = Audit()
