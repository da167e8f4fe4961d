"""``count-artifacts``: how many entries lie directly below a prefix."""

from collections.abc import AsyncGenerator

from agent.artifact_uri import ArtifactUri
from agent.guard.policy import PolicyRequest
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.outputs import Output, Result

NAME = "count-artifacts"


class CountArtifacts(Parameters):
    """Which prefix."""

    uri: str


def _asks(params: CountArtifacts, _: Tools) -> PolicyRequest:
    return PolicyRequest(NAME, artifact=ArtifactUri.parse(params.uri))


async def _run(params: CountArtifacts, tools: Tools, _: Ticket) -> AsyncGenerator[Output]:
    uri = ArtifactUri.parse(params.uri)
    page = await tools.artifacts.find(uri).list(uri, page_size=1000, page_token=None)
    yield Result({"count": len(page.entries)})


COUNT_ARTIFACTS = Kind(NAME, CountArtifacts, _asks, _run)
