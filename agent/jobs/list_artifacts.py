"""``list-artifacts``: one page of what lies below a prefix, and only what the policy lets be
seen."""

from collections.abc import AsyncGenerator
from typing import Annotated

from pydantic import Field, JsonValue

from agent.artifact_uri import MAX_URI_CHARACTERS
from agent.artifacts.base import Entry, Page
from agent.guard.policy import PolicyRequest
from agent.jobs.fetch_artifact import artifact_uri
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.outputs import Output, Result

NAME = "list-artifacts"
LONGEST_PAGE = 128 * 1024
"""Characters of all names of a page together; up to four bytes each, and as many again in JSON."""


class ListArtifacts(Parameters):
    """Which prefix, taken as a directory, and which page of it."""

    uri: Annotated[str, Field(max_length=MAX_URI_CHARACTERS)]
    page_size: Annotated[int, Field(ge=1, le=1000)] = 100
    page_token: Annotated[str, Field(max_length=8192)] | None = None


def _asks(params: ListArtifacts, _: Tools) -> PolicyRequest:
    return PolicyRequest(NAME, artifact=artifact_uri(params.uri))


async def _run(params: ListArtifacts, tools: Tools, _: Ticket) -> AsyncGenerator[Output]:
    """Yield one page; entries that the policy denies are left out, as if they did not exist.

    A page of long names is cut in half until it fits into a message; its token continues there.
    """
    page_size = params.page_size
    page = await _page(params, tools, page_size)
    while _characters(page) > LONGEST_PAGE and page_size > 1:
        page_size //= 2
        page = await _page(params, tools, page_size)
    shown: list[JsonValue] = [_entry(entry) for entry in page.entries if _visible(entry, tools)]
    yield Result({"entries": shown, "next_page_token": page.next_token})


async def _page(params: ListArtifacts, tools: Tools, page_size: int) -> Page:
    uri = artifact_uri(params.uri)
    store = tools.artifacts.find(uri)
    return await store.list(uri, page_size=page_size, page_token=params.page_token)


def _characters(page: Page) -> int:
    return sum(len(str(entry.uri)) for entry in page.entries)


def _visible(entry: Entry, tools: Tools) -> bool:
    return tools.decide(PolicyRequest(NAME, artifact=entry.uri)).allowed


def _entry(entry: Entry) -> JsonValue:
    return {
        "uri": str(entry.uri),
        "kind": entry.kind,
        "size": entry.size,
        "modified": entry.modified.isoformat() if entry.modified else None,
    }


LIST_ARTIFACTS = Kind(NAME, ListArtifacts, _asks, _run)
