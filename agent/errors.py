"""The error tree, sorted by what the caller does next, and the codes that go over the wire.

    AgentError
    ├── UsageError               a person mends a file or a command; exit code 2
    ├── Unreachable              the other side did not answer; exit code 4
    ├── JournalFailed            no new jobs until an operator has mended the disk
    ├── ProtocolError            the peer broke the protocol: drop the link with a close reason
    ├── LinkRefused              the control plane turned us away; says whether trying soon can help
    └── JobError                 ends one job with a reason from the bounded list
        ├── BadParameters, Unsupported, PolicyDenied, TooLarge       nothing was touched
        ├── NotFound, AccessDenied, StoreUnavailable, Changed, Truncated
        ├── CredentialUnavailable
        └── PipelineFailed

The text of a `JobError` is public: it may be shown on the cloud's dashboard, so it holds no host
name, path, ARN or secret. What helps the customer and nobody else goes into `detail`, which is only
logged.
"""

from enum import IntEnum, StrEnum


class Outcome(StrEnum):
    """How a job ended; the bounded list of the wire."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    OUTCOME_UNKNOWN = "outcome_unknown"


class Reason(StrEnum):
    """Why a job did not succeed; the bounded list of the wire."""

    POLICY_DENIED = "policy_denied"
    SIGNATURE_REJECTED = "signature_rejected"
    DUPLICATE_CONFLICT = "duplicate_conflict"
    BUSY = "busy"
    DRAINING = "draining"
    BAD_PARAMETERS = "bad_parameters"
    UNSUPPORTED = "unsupported"
    NOT_FOUND = "not_found"
    CREDENTIAL_UNAVAILABLE = "credential_unavailable"
    ACCESS_DENIED = "access_denied"
    STORE_UNAVAILABLE = "store_unavailable"
    TOO_LARGE = "too_large"
    CHANGED = "changed"
    TRUNCATED = "truncated"
    PIPELINE_FAILED = "pipeline_failed"
    DEADLINE = "deadline"
    INTERNAL = "internal"


class Exit(IntEnum):
    """Exit codes of both commands."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


class AgentError(Exception):
    """Everything this program raises on purpose."""


class UsageError(AgentError):
    """A person has to change a file or a command; the text says what, where, and to what."""


class Unreachable(AgentError):
    """The other side could not be reached; the text says which and what to look at."""


class JournalFailed(AgentError):
    """The journal or the audit log can't be written or read; no job may be accepted."""


class ProtocolError(AgentError):
    """The peer broke the protocol; *reason* names the close reason to drop the link with."""

    def __init__(self, message: str, *, reason: str = "protocol_error") -> None:
        super().__init__(message)
        self.reason = reason


class LinkRefused(AgentError):
    """The control plane refused the link or the enrolment.

    *final* says that trying again soon cannot help: a person has to act at one of the two ends.
    *retry_after* is in seconds, where the control plane named a time.
    """

    def __init__(self, reason: str, *, final: bool, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final
        self.retry_after = retry_after


class JobError(AgentError):
    """Ends one job. The message is public, *detail* is for the customer's own log."""

    reason = Reason.INTERNAL
    default = "the agent failed; its log names the cause under this job's id"

    def __init__(self, message: str = "", *, detail: str | None = None) -> None:
        super().__init__(message or self.default)
        self.detail = detail


class BadParameters(JobError):
    """The parameters don't fit the kind or the pipeline's schema."""

    reason = Reason.BAD_PARAMETERS
    default = "the parameters do not fit this kind of job"


class Unsupported(JobError):
    """This agent doesn't know the kind, or not with these parameters."""

    reason = Reason.UNSUPPORTED
    default = "this agent does not support that"


class PolicyDenied(JobError):
    """The customer's policy says no."""

    reason = Reason.POLICY_DENIED
    default = "the customer's policy does not allow this"


class NotFound(JobError):
    """The named thing does not exist."""

    reason = Reason.NOT_FOUND
    default = "there is no such thing"


class AccessDenied(JobError):
    """The store knows the credential, or not, and refuses (401 or 403)."""

    reason = Reason.ACCESS_DENIED
    default = "the store refused the agent's credential"


class CredentialUnavailable(JobError):
    """No credential could be resolved: the secret store is down, sealed, or has no such secret."""

    reason = Reason.CREDENTIAL_UNAVAILABLE
    default = "the agent could not obtain a credential"


class StoreUnavailable(JobError):
    """The artifact store did not answer, after a bounded number of tries."""

    reason = Reason.STORE_UNAVAILABLE
    default = "the artifact store did not answer"


class TooLarge(JobError):
    """More bytes than the job or the policy allows; known before the first byte was sent."""

    reason = Reason.TOO_LARGE
    default = "the artifact is larger than allowed"


class Changed(JobError):
    """The object is no longer the one whose first bytes were sent."""

    reason = Reason.CHANGED
    default = "the artifact changed while it was being read"


class Truncated(JobError):
    """The store ended the object before its announced size."""

    reason = Reason.TRUNCATED
    default = "the store ended the artifact too early"


class PipelineFailed(JobError):
    """The pipeline ran and failed, or could not be started."""

    reason = Reason.PIPELINE_FAILED
    default = "the pipeline failed"
