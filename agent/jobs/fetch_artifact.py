"""``fetch-artifact``: the bytes of one artifact, or of a range of it."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from typing import Annotated

from pydantic import Field, JsonValue, model_validator

from agent.artifact_uri import MAX_URI_CHARACTERS, ArtifactUri
from agent.artifacts.base import Artifact, ByteRange
from agent.errors import BadParameters, Changed, TooLarge, Truncated, Unsupported
from agent.guard.policy import PolicyRequest
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.outputs import Content, Data, Output, Result

HASHED_AT_ONCE = 64 * 1024
"""Smaller blocks are hashed on the loop: a hop to a thread would take longer."""

Position = Annotated[int, Field(ge=0, lt=2**63)]


class FetchArtifact(Parameters):
    """Which artifact; *range* counts from 0 and includes both ends."""

    uri: Annotated[str, Field(max_length=MAX_URI_CHARACTERS)] | None = None
    zenml_artifact_version: str | None = None
    mlflow_run: str | None = None
    path: str | None = None
    range: Annotated[list[Position], Field(min_length=2, max_length=2)] | None = None
    max_bytes: Annotated[int, Field(gt=0, lt=2**63)] | None = None

    @model_validator(mode="after")
    def _range_is_ordered(self) -> "FetchArtifact":
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError("range: first is greater than last")
        return self


def artifact_uri(uri: str | None) -> ArtifactUri:
    """Return the normal form of a job's *uri*.

    Raises:
        BadParameters: It is no URI.
        Unsupported: The job names its artifact in a way that this agent doesn't know.
    """
    if uri is None:
        raise Unsupported("this agent fetches artifacts by uri only")
    try:
        return ArtifactUri.parse(uri)
    except ValueError as exc:
        raise BadParameters(f"uri: {exc}") from None


def _asks(params: FetchArtifact, _: Tools) -> PolicyRequest:
    return PolicyRequest("fetch-artifact", artifact=artifact_uri(params.uri))


async def _run(params: FetchArtifact, tools: Tools, ticket: Ticket) -> AsyncGenerator[Output]:
    """Yield the bytes that the receiver does not have yet, then the digest of all of them."""
    uri = artifact_uri(params.uri)
    store = tools.artifacts.find(uri)
    span = ByteRange(*params.range) if params.range else None
    async with store.open(uri, span=span, etag=ticket.etag) as artifact:
        size = _content_size(artifact.size, span)
        _check_size(size, params.max_bytes, ticket)
        yield Content(size=size, etag=artifact.etag, media_type=artifact.media_type)
        digest = hashlib.sha256()
        async for data in _new_data(artifact, digest, size=size, skip=ticket.have_bytes):
            yield data
    value: dict[str, JsonValue] = {
        "size": artifact.size,
        "sha256": digest.hexdigest(),
        "media_type": artifact.media_type,
        "etag": artifact.etag,
        "store": store.name,
    }
    yield Result(value, sha256=digest.hexdigest())


def _content_size(size: int, span: ByteRange | None) -> int:
    if span is None:
        return size
    last = size - 1 if span.last is None else min(span.last, size - 1)
    return max(0, last - span.first + 1)


def _check_size(size: int, wanted: int | None, ticket: Ticket) -> None:
    if wanted is not None and size > wanted:
        raise TooLarge(f"the content has {size} bytes, and the job asked for at most {wanted}")
    if ticket.max_bytes is not None and size > ticket.max_bytes:
        raise TooLarge(f"the content has {size} bytes; the policy allows {ticket.max_bytes}")
    if ticket.have_bytes > size:
        raise Changed(detail=f"the receiver has {ticket.have_bytes} bytes of {size}")


async def _new_data(
    artifact: Artifact, digest: "hashlib._Hash", *, size: int, skip: int
) -> AsyncGenerator[Data]:
    """Hash everything, yield what lies behind the first *skip* bytes.

    What the receiver already has is read once more: only so the digest vouches for the whole
    content. A large block is hashed in a thread while it is being sent.
    """
    loop = asyncio.get_running_loop()
    position = 0
    hashing: asyncio.Future[None] | None = None
    async for block in artifact.blocks():
        if hashing is not None:
            await hashing
            hashing = None
        if len(block) > HASHED_AT_ONCE:
            hashing = loop.run_in_executor(None, digest.update, block)
        else:
            digest.update(block)
        start, position = position, position + len(block)
        if position > skip:
            yield Data(memoryview(block)[max(0, skip - start) :])
    if hashing is not None:
        await hashing
    if position != size:
        raise Truncated(detail=f"{position} of {size} bytes")


FETCH_ARTIFACT = Kind("fetch-artifact", FetchArtifact, _asks, _run)
