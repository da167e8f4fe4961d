"""What users send and get, as JSON. The models are the source of the OpenAPI document."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from agent.errors import ProtocolError
from agent.protocol.codec import decode, encode
from agent.protocol.messages import FROM_CONTROL_PLANE, JobRequest, Name
from control_plane_stub.agents.faults import Fault, ScriptedFault
from control_plane_stub.jobs import Job
from control_plane_stub.rest.errors import ApiError

M = TypeVar("M", bound=BaseModel)

Labels = Annotated[dict[str, str], Field(min_length=1, max_length=32)]
Position = Annotated[int, Field(ge=0, lt=2**63)]
DeadlineSeconds = Annotated[float, Field(gt=0, le=7 * 86400, allow_inf_nan=False)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Addressed(_Request):
    agent: Name | None = None
    """The agent by name."""
    labels: Labels | None = None
    """Or any agent that has all of these labels."""

    @model_validator(mode="after")
    def _one_address(self) -> "_Addressed":
        if (self.agent is None) == (self.labels is None):
            raise ValueError("name either an agent or labels")
        return self


class JobSubmission(_Addressed):
    """A piece of work for an agent."""

    kind: Annotated[str, Field(min_length=1, max_length=64)]
    parameters: dict[str, JsonValue] = {}
    deadline_s: DeadlineSeconds | None = None
    """From the moment the agent takes it in; so long it also waits for an agent with room."""
    idempotency_key: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """The same key again is answered with the same job."""
    content: Literal["keep", "relay"] = "keep"
    """``relay``: nothing is stored; the one reader of the content gets it from the link."""

    @model_validator(mode="after")
    def _fits_into_a_frame(self) -> Self:
        """Refuse here what agents have to refuse: on the link it would break the session."""
        request = JobRequest(job="probe", kind=self.kind, parameters=self.parameters)
        try:
            decode(encode(request), FROM_CONTROL_PLANE)
        except ProtocolError as error:
            raise ValueError(f"parameters can't be sent: {error}") from None
        return self


class FetchRequest(_Addressed):
    """An artifact wanted in the answer itself."""

    uri: Annotated[str, Field(min_length=1, max_length=4096)]
    range: tuple[Position, Position] | None = None
    """First and last byte."""
    max_bytes: Position | None = None
    deadline_s: DeadlineSeconds = 60.0


class JobCreated(BaseModel):
    """The job that was submitted."""

    id: str


class Progress(BaseModel):
    """How far a job is: bytes of content here, of how many; and what it reports itself."""

    bytes: int
    size: int | None = None
    done: int | None = None
    of: int | None = None


class TrailerView(BaseModel):
    """What the agent says the content is; a job that succeeded was compared with it."""

    bytes: int
    sha256: str | None = None
    log_end: int = 0


class JobView(BaseModel):
    """One job."""

    id: str
    agent: str | None
    instance: str | None
    labels: dict[str, str]
    kind: str
    parameters: dict[str, JsonValue]
    deadline_s: float | None
    content: Literal["keep", "relay"]
    state: str
    """``queued``, ``requested``, ``running``, or the outcome."""
    reason: str | None
    message: str
    result: dict[str, JsonValue] | None
    trailer: TrailerView | None
    progress: Progress
    media_type: str | None
    etag: str | None
    created_at: datetime
    accepted_at: datetime | None
    ended_at: datetime | None


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobView]


class InstanceView(BaseModel):
    """One enrolled process of an agent."""

    id: str
    state: Literal["online", "offline", "revoked"]
    version: str | None = None
    labels: dict[str, str] = {}
    connected_since: datetime | None = None
    draining: bool = False
    open_jobs: int = 0
    round_trip_ms: float | None = None


class AgentView(BaseModel):
    """One agent."""

    name: str
    labels: dict[str, str]
    instances: list[InstanceView]


class AgentList(BaseModel):
    """Every agent with an enrolled instance."""

    agents: list[AgentView]


class JoinTokenRequest(_Request):
    """A token for one enrolment."""

    agent: Name
    ttl: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=7))] = timedelta(minutes=30)
    """Seconds, or ISO 8601 as ``PT30M``."""


class JoinTokenCreated(BaseModel):
    """The token, shown this once."""

    join_token: str
    agent: str
    expires_at: datetime


class FaultView(Fault):
    """A fault at work."""

    id: int
    left: int


class FaultList(BaseModel):
    """Faults that are not used up."""

    faults: list[FaultView]


class Done(BaseModel):
    """It was done."""

    done: bool = True


async def read_model(request: web.Request, model: type[M]) -> M:
    """Return the body as *model*.

    Raises:
        ApiError: It does not fit; the message names the fields and repeats no value.
    """
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as exc:
        errors = exc.errors(include_input=False, include_url=False, include_context=False)
        lines = [
            f"{'.'.join(map(str, error['loc'])) or 'body'}: {error['msg']}" for error in errors
        ]
        raise ApiError(400, "bad_request", "; ".join(lines[:10])) from None


def answer(model: BaseModel, *, status: int = 200) -> web.Response:
    """Return *model* as a response."""
    headers = {"Cache-Control": "no-store"}
    return web.Response(
        status=status,
        text=model.model_dump_json(),
        content_type="application/json",
        headers=headers,
    )


def job_view(job: Job) -> JobView:
    """Return *job* as users see it."""
    done, of = job.progress or (None, None)
    have = job.content.have if job.content else (job.trailer or {}).get("bytes", 0)
    return JobView(
        **{name: getattr(job, name) for name in _SAME},
        content="keep" if job.kept else "relay",
        trailer=TrailerView(**job.trailer) if job.trailer else None,
        progress=Progress(bytes=have, size=job.size, done=done, of=of),
        created_at=moment(job.created),
        accepted_at=None if job.accepted is None else moment(job.accepted),
        ended_at=None if job.ended is None else moment(job.ended),
    )


def fault_view(script: ScriptedFault) -> FaultView:
    """Return *script* as users see it."""
    return FaultView(id=script.id, left=script.left, **script.fault.model_dump())


def moment(seconds: float) -> datetime:
    """Return the time that is *seconds* after 1970."""
    return datetime.fromtimestamp(seconds, UTC)


_SAME = (
    "id",
    "agent",
    "instance",
    "labels",
    "kind",
    "parameters",
    "deadline_s",
    "state",
    "reason",
    "message",
    "result",
    "media_type",
    "etag",
)
