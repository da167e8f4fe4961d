"""Every text message of the protocol, as README.md beside this file describes it."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from agent.errors import Outcome, Reason

PROTOCOL_VERSION = 1
SUBPROTOCOL = "cloud-agent.v1"
CONNECT_PATH = "/agent/v1/connect"
ENROLL_PATH = "/agent/v1/enroll"
UPLOAD = "upload"
"""The lane of a content that comes by HTTP, and the capability of sending so."""

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
JobId = Name
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Part(BaseModel):
    """A JSON object on the wire; fields that we do not know are tolerated."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Message(Part):
    """The object of one text frame; its type comes first."""

    type: str


class Numbered(Message):
    """A message that the session delivers once, in the order of *seq*; 0 until it is sent."""

    seq: Count = 0


class Enroll(Message):
    """Agent: register this public key, once, for this one-time token."""

    type: Literal["enroll"] = "enroll"
    agent: Name
    instance: Name
    public_key: str = Field(max_length=128)
    """The raw 32 bytes of the Ed25519 key, base64url without padding."""
    join_token: str = Field(max_length=512, repr=False)


class Enrolled(Message):
    """Control plane: the key is registered."""

    type: Literal["enrolled"] = "enrolled"
    agent: Name
    instance: Name


class OpenJob(Part):
    """One job of which the agent still owes the outcome."""

    job: JobId
    state: Literal["running", "finished"]


class Hello(Message):
    """Agent: the first message on every link."""

    type: Literal["hello"] = "hello"
    protocols: list[int] = [PROTOCOL_VERSION]
    agent: Name
    instance: Name
    version: str = Field(max_length=64)
    labels: dict[str, str] = {}
    capabilities: list[str] = []
    """Kinds of jobs as ``job:KIND``, and features; unknown ones are ignored."""
    posture: dict[str, JsonValue] = {}
    """Facts for the dashboard, as ``max_concurrent_jobs``; none of them is needed to talk."""
    session: str | None = None
    received: Count = 0
    """The highest *seq* taken in from the control plane in that session."""
    jobs: list[OpenJob] = []
    draining: bool = False


class Standing(Part):
    """What the control plane holds of one open job, so that the agent goes on from there."""

    job: JobId
    have_bytes: Count = 0
    have_log: Count = 0
    etag: str | None = None


class Limits(Part):
    """What the control plane takes; the agent keeps within the smaller of these and its own."""

    window_bytes: Annotated[int, Field(ge=65536)] = 8 * 1024 * 1024
    """Data in blocks that is sent and not yet acknowledged, over all jobs."""
    block_bytes: Annotated[int, Field(ge=1024)] = 512 * 1024
    text_bytes: Annotated[int, Field(ge=4096)] = 1024 * 1024
    credit_bytes: Count = 1024 * 1024
    """Each job's credit before the first `Credit`."""


class UploadOffer(Part):
    """Where the control plane takes content by HTTP: a path, on the host that was dialled."""

    path: str = Field(max_length=256, pattern=r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$")
    """No URL: so it can name no other host, port or scheme."""
    min_bytes: Count = 1024 * 1024
    """Smaller contents are to come in blocks."""
    segment_bytes: Annotated[int, Field(ge=65536)] = 8 * 1024 * 1024
    """The longest body of one request."""


class Welcome(Message):
    """Control plane: the answer to `Hello`."""

    type: Literal["welcome"] = "welcome"
    protocol: int = PROTOCOL_VERSION
    session: str = Field(min_length=1, max_length=128)
    resumed: bool
    received: Count = 0
    """The highest *seq* taken in from the agent in this session; 0 in a new one."""
    heartbeat_s: Annotated[float, Field(ge=0.05, le=300)] = 15
    limits: Limits = Limits()
    upload: UploadOffer | None = None
    jobs: list[Standing] = []
    """In a new session: those of `Hello.jobs` that are known here; others are forgotten."""
    capabilities: list[str] = []
    time: AwareDatetime | None = None


class Ping(Message):
    """Either side: answer with the same *n*."""

    type: Literal["ping"] = "ping"
    n: Count


class Pong(Message):
    """The answer to `Ping`."""

    type: Literal["pong"] = "pong"
    n: Count


class Ack(Message):
    """Either side: everything up to *received* is in safe hands and need not be sent again."""

    type: Literal["ack"] = "ack"
    received: Count


class Unsupported(Message):
    """Either side: I do not know messages of type *of*; I have ignored one."""

    type: Literal["unsupported"] = "unsupported"
    of: str = Field(max_length=64)


class JobRequest(Numbered):
    """Control plane: do this. The same *job* may be requested again, with the same content."""

    type: Literal["job.request"] = "job.request"
    job: JobId
    kind: str = Field(min_length=1, max_length=64)
    parameters: dict[str, JsonValue] = {}
    deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seconds from the moment the agent takes the request in."""
    standing: Standing | None = None
    """Where to go on, when the control plane already holds a part of the content or log."""


class JobCancel(Numbered):
    """Control plane: end this job; its result says whether that came in time."""

    type: Literal["job.cancel"] = "job.cancel"
    job: JobId


class JobSettled(Numbered):
    """Control plane: the result is stored for good; the agent may forget the job."""

    type: Literal["job.settled"] = "job.settled"
    job: JobId


class Credit(Numbered):
    """Control plane: the content of *job* may be sent up to byte *up_to* of it."""

    type: Literal["credit"] = "credit"
    job: JobId
    up_to: Count


class JobAccepted(Numbered):
    """Agent: the job will end in exactly one `JobResult`."""

    type: Literal["job.accepted"] = "job.accepted"
    job: JobId
    durable: bool
    """On disk. Others may be requested again when a new `Hello` does not list them."""


class JobRefused(Numbered):
    """Agent: the job was not begun and will not be. Nothing was touched for it."""

    type: Literal["job.refused"] = "job.refused"
    job: JobId
    reason: Reason
    message: str = ""
    retry_after_s: Seconds | None = None
    """With ``busy`` and ``draining``: offer it again after that, or to another instance."""


class JobContent(Numbered):
    """Agent: data follows, in blocks or in this *lane*; *size* counts the whole content."""

    type: Literal["job.content"] = "job.content"
    job: JobId
    size: Count
    etag: str
    media_type: str | None = None
    lane: Literal["upload"] | None = None


class JobLog(Numbered):
    """Agent: text of the job's log. *offset* and *end* are byte positions in that log."""

    type: Literal["job.log"] = "job.log"
    job: JobId
    offset: Count
    end: Count
    text: str


class JobProgress(Numbered):
    """Agent: how far the job is."""

    type: Literal["job.progress"] = "job.progress"
    job: JobId
    done: Count
    of: Count | None = None


class Trailer(Part):
    """What the receiver compares: without a matching trailer the content is truncated."""

    bytes: Count
    sha256: str | None = None
    log_end: Count = 0


class JobResult(Numbered):
    """Agent: the outcome, once; sent again in a new session until it is settled."""

    type: Literal["job.result"] = "job.result"
    job: JobId
    outcome: Outcome
    reason: Reason | None = None
    message: str = ""
    result: dict[str, JsonValue] = {}
    trailer: Trailer


class AgentStatus(Numbered):
    """Agent: how many jobs it takes at once, and whether it takes any."""

    type: Literal["agent.status"] = "agent.status"
    draining: bool
    max_concurrent_jobs: Count


FromControlPlane = (
    Enrolled
    | Welcome
    | Ping
    | Pong
    | Ack
    | Unsupported
    | JobRequest
    | JobCancel
    | JobSettled
    | Credit
)
FromAgent = (
    Enroll
    | Hello
    | Ping
    | Pong
    | Ack
    | Unsupported
    | JobAccepted
    | JobRefused
    | JobContent
    | JobLog
    | JobProgress
    | JobResult
    | AgentStatus
)
FROM_CONTROL_PLANE: dict[str, type[Any]] = {
    model.model_fields["type"].default: model for model in FromControlPlane.__args__
}
FROM_AGENT: dict[str, type[Any]] = {
    model.model_fields["type"].default: model for model in FromAgent.__args__
}
