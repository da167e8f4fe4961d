"""What a package that adds something to the agent imports. Nothing of the agent imports this.

A package offers an object under an entry point, whose name is the word that the configuration, or a
job, uses:

    group                         name             object
    cloud_agent.artifact_stores   a URI's scheme   `artifacts.open.Factory`
    cloud_agent.secret_stores     a ``type``       `Plugin`, *open* a `secrets.open.Factory`
    cloud_agent.connectors        a ``type``       `Plugin`, *open* a `connectors.open.Factory`
    cloud_agent.pipeline_runners  a ``runner``     `Plugin`, *open* a `pipelines.open.OpenRunner`
    cloud_agent.jobs              a kind of job    `jobs.kind.Kind`

Opening does no I/O. `agent.testing` has the tests that each of them should pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.config.parts import Name, Part, Reference
from agent.config.units import Duration, Size

__all__ = ["Duration", "Name", "Part", "Plugin", "Reference", "Size"]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A part of the configuration, and what is built from it.

    *settings* is a `Part` with a field ``type`` (or ``runner``) of the entry point's name; a secret
    store's has ``cache`` too, in seconds.
    """

    settings: type[Part]
    open: Callable[..., Any]
