"""``list-artifacts``: one page of what lies below a prefix, and only what the policy lets be
seen."""

from collections.abc import AsyncGenerator
from typing import Annotated

from pydantic import Field, JsonValue

from agent.artifact_uri import MAX_URI_CHARACTERS
from agent.artifacts.base import Entry, Page
from agent.artifacts.paging import Position
from agent.guard.policy import PolicyRequest
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.naming import Place, locate, parse_uri
from agent.jobs.outputs import Output, Result

NAME = "list-artifacts"
LONGEST_PAGE = 128 * 1024
"""Characters of all names of a page together; up to four bytes each, and as many again in JSON."""


class ListArtifacts(Parameters):
    """Which prefix, taken as a directory, and which page of it."""

    uri: Annotated[str, Field(max_length=MAX_URI_CHARACTERS)]
    page_size: Annotated[int, Field(ge=1, le=1000)] = 100
    page_token: Annotated[str, Field(max_length=8192)] | None = None


def _asks(params: ListArtifacts, tools: Tools) -> PolicyRequest:
    return PolicyRequest(NAME, artifact=parse_uri(params.uri, tools.artifacts))


async def _run(params: ListArtifacts, tools: Tools, _: Ticket) -> AsyncGenerator[Output]:
    """Yield one page of what the policy lets be seen; the rest is as if it did not exist.

    Pages without anything to show are passed over, and a token is only ever made of an entry that
    is shown: it holds that entry's name.
    """
    place = await locate(parse_uri(params.uri, tools.artifacts), NAME, tools)
    token, shown = params.page_token, []
    while True:
        page = await _fitting(place, params.page_size, token)
        shown = [entry for entry in page.entries if _visible(entry, tools)]
        if shown or page.next_token is None:
            break
        token = page.next_token
    more = None if page.next_token is None else Position.after(shown[-1]).token
    yield Result({"entries": [_entry(entry) for entry in shown], "next_page_token": more})


async def _fitting(place: Place, page_size: int, token: str | None) -> Page:
    """Return the next page; one of long names is halved until it fits into a message."""
    page = await place.store.list(place.uri, page_size=page_size, page_token=token)
    while _characters(page) > LONGEST_PAGE and page_size > 1:
        page_size //= 2
        page = await place.store.list(place.uri, page_size=page_size, page_token=token)
    return page


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
