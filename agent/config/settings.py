"""What can be configured: one frozen tree. Reading files and the environment is `load`'s part.

The larger parts stand in files of their own beside this one.
"""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from agent.config.artifact_stores import ArtifactStore
from agent.config.connectors import Connector
from agent.config.control_plane import ControlPlane
from agent.config.parts import Name, Part, has_host
from agent.config.pipelines import Pipeline
from agent.config.secret_stores import SecretStore
from agent.config.units import Duration, Size


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
        if listen is not None and not has_host(urlsplit(f"//{listen}")):
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
