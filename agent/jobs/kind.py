"""What a kind of job is made of, and what its handler is given. No kind lives here."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from agent.artifacts.stores import ArtifactStores
from agent.connectors.base import Connector
from agent.guard.policy import Decision, PolicyRequest
from agent.jobs.outputs import Output
from agent.pipelines.runners import PipelineRunners


class Parameters(BaseModel):
    """Parameters of a kind: unknown ones are refused, and their values never stand in an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True, slots=True)
class Tools:
    """The customer's systems, as configured now."""

    artifacts: ArtifactStores
    connectors: dict[str, Connector[Any]]
    pipelines: PipelineRunners
    decide: Callable[[PolicyRequest], Decision]


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a handler knows of its job, apart from the parameters.

    *have_bytes* and *have_log* say what the receiver already holds of the content and the log, and
    *etag* of which version: the handler goes on behind them, and fails as `Changed` when the
    version is another.
    """

    job: str
    max_bytes: int | None = None
    have_bytes: int = 0
    have_log: int = 0
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Kind(Generic[P]):
    """One kind of job.

    *asks* names what the policy decides on, without touching a secret; it may raise a JobError when
    the parameters name nothing that exists. *run* is an async generator of outputs whose last one
    is a `Result`; it may be begun again for the same job, and then must not repeat an effect.
    *abort* undoes, as far as that can be, what a cancelled or late job has begun.
    """

    name: str
    parameters: type[P]
    asks: Callable[[P, Tools], PolicyRequest]
    run: Callable[[P, Tools, Ticket], AsyncGenerator[Output]]
    effect: bool = False
    abort: Callable[[P, Tools, Ticket], Awaitable[None]] | None = None
