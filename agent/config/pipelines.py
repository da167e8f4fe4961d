"""Pipelines: the only commands that are started."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from agent.config.parts import Name, Part, Reference
from agent.config.plugged import or_plugged
from agent.config.units import Duration, Size

Parameter = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


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


Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class KubernetesPipeline(Part):
    """A pipeline that is a Job of a Kubernetes cluster."""

    name: Name
    """What a job names."""
    runner: Literal["kubernetes"]
    template_file: Path | None = None
    """YAML file with a Job (batch/v1) whose pod has `restartPolicy: Never`. The agent names it."""
    template: dict[str, JsonValue] | None = None
    """Or the Job itself."""
    connector: str | None = None
    """One that gives access to a cluster. Default: the service account of the agent's own pod."""
    namespace: str | None = None
    """Default: the template's, else the connector's."""
    container: str | None = None
    """Whose log is read, and who gets `environment`. Default: the only one."""
    parameters: dict[Parameter, dict[str, JsonValue]] = {}
    """A JSON Schema for each parameter; one without a default is required. ``{parameter}`` stands
    for its value in `args` and in values of `env` of the template, and nowhere else."""
    environment: dict[Variable, Reference | str] = {}
    """Added to what the template says, and to CLOUD_AGENT_RUN_ID. References come into a Secret
    that goes with the Job. Better: name an existing Secret in the template, which the agent then
    never reads; but what it holds is not known to be a secret when it stands in a log."""
    start_timeout: Duration = 1800.0
    """A run that has not begun by then, for want of room or of an image, is given up."""
    timeout: Duration | None = None
    """A run that lasts longer, with the time it waits to begin, is stopped. Default: what the
    template says as `activeDeadlineSeconds`, else 1d."""
    stop_grace: Duration | None = None
    """Between the request to end and the kill. Default: what the template says as
    `terminationGracePeriodSeconds`, else 30s."""
    keep: Duration | None = None
    """The cluster keeps Job and pods so long after the end. What the agent has not read of the log
    by then is lost. Default: what the template says as `ttlSecondsAfterFinished`, else 1d."""
    log_limit: Size = 64 * 1024 * 1024
    """The log is cut there, with a line that says so."""

    @model_validator(mode="after")
    def _one_template(self) -> Self:
        if (self.template is None) == (self.template_file is None):
            raise ValueError("name a template_file, or give a template")
        return self


Pipeline = Annotated[
    Annotated[ProcessPipeline | KubernetesPipeline, Field(discriminator="runner")],
    or_plugged("cloud_agent.pipeline_runners", "runner"),
]
