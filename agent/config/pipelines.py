"""Pipelines: the only commands that are started."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue

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


Pipeline = Annotated[ProcessPipeline, or_plugged("cloud_agent.pipeline_runners", "runner")]
