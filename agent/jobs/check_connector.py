"""``check-connector``: who the agent is at a cloud, or whether a store lets it read.

Never a secret.
"""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from pydantic import Field, JsonValue, model_validator

from agent.connectors.base import Connector
from agent.errors import NotFound
from agent.guard.policy import PolicyRequest
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.outputs import Output, Result

NAME = "check-connector"
Name = Annotated[str, Field(min_length=1, max_length=128)]


class CheckConnector(Parameters):
    """Either a connector or an artifact store, by its name in the configuration."""

    connector: Name | None = None
    artifact_store: Name | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "CheckConnector":
        if (self.connector is None) == (self.artifact_store is None):
            raise ValueError("either connector or artifact_store")
        return self


def _asks(params: CheckConnector, tools: Tools) -> PolicyRequest:
    """Name what is to be checked; a store that does not exist fits no pattern.

    So who may not check stores can't find out their names either.
    """
    if params.connector is not None:
        return PolicyRequest(NAME, connector=params.connector)
    try:
        return PolicyRequest(NAME, artifact=tools.artifacts.root_of(params.artifact_store or ""))
    except NotFound:
        return PolicyRequest(NAME)


async def _run(params: CheckConnector, tools: Tools, _: Ticket) -> AsyncGenerator[Output]:
    """Yield ok and who we are there; what does not work is a failed job with its reason.

    A store that needs no login has no identity.
    """
    name = params.connector
    if params.artifact_store is not None:
        await tools.artifacts.by_name(params.artifact_store).check()
        name = tools.artifacts.connector_of(params.artifact_store)
    if name is None:
        yield Result({"ok": True, "identity": None, "expires_at": None})
        return
    identity = await _connector(name, tools).identity()
    expires: JsonValue = identity.expires_at.isoformat() if identity.expires_at else None
    yield Result({"ok": True, "identity": identity.name, "expires_at": expires})


def _connector(name: str, tools: Tools) -> Connector[Any]:
    try:
        return tools.connectors[name]
    except KeyError:
        raise NotFound("there is no connector of that name") from None


CHECK_CONNECTOR = Kind(NAME, CheckConnector, _asks, _run)
