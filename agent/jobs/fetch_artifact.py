"""``fetch-artifact``: the bytes of one artifact, or of a range of it."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

from pydantic import Field, JsonValue, model_validator

from agent.artifact_uri import MAX_URI_CHARACTERS, ArtifactUri
from agent.artifacts.base import Artifact, ByteRange
from agent.errors import Changed, TooLarge, Truncated
from agent.guard.policy import PolicyRequest
from agent.jobs.kind import Kind, Parameters, Ticket, Tools
from agent.jobs.naming import below, locate, only, parse_uri, the_one_file
from agent.jobs.outputs import Content, Data, Output, Result

NAME = "fetch-artifact"
_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
HASHED_AT_ONCE = 64 * 1024
"""Smaller blocks are hashed on the loop: a hop to a thread would take longer."""

Position = Annotated[int, Field(ge=0, lt=2**63)]


class FetchArtifact(Parameters):
    """Which artifact, in exactly one of three ways; *range* counts from 0 and includes both ends.

    *path* leads below what a ZenML artifact version or an MLflow run is.
    """

    uri: Annotated[str, Field(max_length=MAX_URI_CHARACTERS)] | None = None
    zenml_artifact_version: Annotated[str, Field(pattern=_UUID)] | None = None
    mlflow_run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] | None = None
    path: Annotated[str, Field(min_length=1, max_length=MAX_URI_CHARACTERS)] | None = None
    range: Annotated[list[Position], Field(min_length=2, max_length=2)] | None = None
    max_bytes: Annotated[int, Field(gt=0, lt=2**63)] | None = None

    @model_validator(mode="after")
    def _one_artifact(self) -> "FetchArtifact":
        named = [self.uri, self.zenml_artifact_version, self.mlflow_run]
        if sum(name is not None for name in named) != 1:
            raise ValueError("exactly one of uri, zenml_artifact_version and mlflow_run")
        if self.uri is not None and self.path is not None:
            raise ValueError("path: goes with zenml_artifact_version or mlflow_run")
        return self

    @model_validator(mode="after")
    def _range_is_ordered(self) -> "FetchArtifact":
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError("range: first is greater than last")
        return self


def artifact_of(params: FetchArtifact, tools: Tools) -> ArtifactUri:
    """Return the URI of the artifact that *params* name.

    Raises:
        BadParameters: It is no URI.
        Unsupported: They name it by an id, and there is not exactly one server that knows it.
    """
    if params.uri is not None:
        return parse_uri(params.uri, tools.artifacts)
    if params.mlflow_run is not None:
        root = only(tools.artifacts, "mlflow")
        return below(root, "runs", params.mlflow_run, params.path)
    root = only(tools.artifacts, "zenml")
    return below(root, params.zenml_artifact_version, params.path)


def _asks(params: FetchArtifact, tools: Tools) -> PolicyRequest:
    return PolicyRequest(NAME, artifact=artifact_of(params, tools))


async def _run(params: FetchArtifact, tools: Tools, ticket: Ticket) -> AsyncGenerator[Output]:
    """Yield the bytes that the receiver does not have yet, then the digest of all of them."""
    place = await locate(artifact_of(params, tools), NAME, tools)
    place = await the_one_file(place, NAME, tools)
    span = ByteRange(*params.range) if params.range else None
    async with place.store.open(place.uri, span=span, etag=ticket.etag) as artifact:
        size = _content_size(artifact.size, span)
        _check_size(size, params.max_bytes, (ticket.max_bytes, place.max_bytes))
        if ticket.have_bytes > size:
            raise Changed(detail=f"the receiver has {ticket.have_bytes} bytes of {size}")
        yield Content(size=size, etag=artifact.etag, media_type=artifact.media_type)
        digest = hashlib.sha256()
        async for data in _new_data(artifact, digest, size=size, skip=ticket.have_bytes):
            yield data
    value: dict[str, JsonValue] = {
        "size": artifact.size,
        "sha256": digest.hexdigest(),
        "media_type": artifact.media_type,
        "etag": artifact.etag,
        "store": place.store.name,
    }
    yield Result(value, sha256=digest.hexdigest())


def _content_size(size: int, span: ByteRange | None) -> int:
    if span is None:
        return size
    last = size - 1 if span.last is None else min(span.last, size - 1)
    return max(0, last - span.first + 1)


def _check_size(size: int, wanted: int | None, allowed: Sequence[int | None]) -> None:
    if wanted is not None and size > wanted:
        raise TooLarge(f"the content has {size} bytes, and the job asked for at most {wanted}")
    for limit in allowed:
        if limit is not None and size > limit:
            raise TooLarge(f"the content has {size} bytes; the policy allows {limit}")


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


FETCH_ARTIFACT = Kind(NAME, FetchArtifact, _asks, _run)
