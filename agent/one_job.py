"""One job without a control plane: run it here and now, or explain what the policy would say."""

import uuid
from typing import Any, BinaryIO

import structlog
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from agent import egress
from agent.app import counted
from agent.artifact_uri import ArtifactUri
from agent.config.settings import Settings
from agent.errors import JobError, Outcome, UsageError
from agent.guard.audit import AuditLog
from agent.guard.policy import Decision
from agent.guard.redaction import Redactor
from agent.jobs.admission import Admission
from agent.jobs.execution import Ending
from agent.jobs.kind import Ticket
from agent.jobs.kinds import installed_kinds
from agent.jobs.sink import result_message
from agent.jobs.writer import StreamSink
from agent.parts import Parts
from agent.telemetry import logs


class JobFile(BaseModel):
    """A job as a person writes it."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    kind: str
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    deadline_s: float | None = Field(default=None, gt=0)


async def execute(settings: Settings, job: dict[str, Any], sink: BinaryIO) -> dict[str, Any]:
    """Run *job* through the same policy and audit as the daemon; content and log go to *sink*.

    Returns outcome, reason, message, result and trailer, as the control plane would be told. The
    audit goes to a file of its own, beside the daemon's, which may be running.

    Raises:
        UsageError: *job* is no job, or the configuration can't be used.
    """
    asked = _job(job)
    egress.guard()
    redactor = Redactor()
    shape = settings.telemetry.log
    logs.configure(shape.level, shape.format, counted(redactor, "log"))
    name = f"exec-{uuid.uuid4()}"
    structlog.contextvars.bind_contextvars(job=name)
    daemon_audit = settings.audit.file or settings.agent.state_dir / "audit.jsonl"
    audit = AuditLog.open(
        daemon_audit.with_name(f"{daemon_audit.stem}-exec.jsonl"),
        redact=counted(redactor, "audit"),
    )

    def decided(job: str, kind: str, decision: Decision) -> None:
        audit.record(
            "job.decided", job=job, kind=kind, allowed=decision.allowed, rule=decision.rule
        )

    parts = Parts.open(
        settings,
        on_secret=lambda secret: redactor.register(secret.reveal()),
        on_use=lambda reference: audit.record("credential.used", job=name, reference=reference),
    )
    try:
        admission = Admission(installed_kinds(), decided)
        try:
            execution = admission.prepare(Ticket(name), asked.kind, asked.parameters, parts.tools)
        except JobError as exc:
            ending = Ending(Outcome.REFUSED, exc.reason, str(exc))
        else:
            ending = await execution.run(parts.tools, StreamSink(sink), timeout=asked.deadline_s)
        audit.record("job.ended", job=name, outcome=ending.outcome.value, bytes=ending.bytes)
    finally:
        await parts.close()
        audit.close()
    told = result_message(name, ending, redactor.redact).model_dump(mode="json")
    return {key: told[key] for key in ("job", "outcome", "reason", "message", "result", "trailer")}


async def explain(settings: Settings, job: dict[str, Any]) -> dict[str, Any]:
    """Say which rule decides on *job* and which store and connector it would use; reads no secret.

    Raises:
        UsageError: *job* is no job, or its parameters don't fit its kind.
    """
    asked = _job(job)
    seen: list[Decision] = []
    admission = Admission(installed_kinds(), lambda _job, _kind, decision: seen.append(decision))
    parts = Parts.open(settings, on_secret=_never, on_use=_never)
    refusal = ""
    try:
        admission.prepare(Ticket("explain"), asked.kind, asked.parameters, parts.tools)
    except JobError as exc:
        refusal = str(exc)
    finally:
        await parts.close()
    if not seen:
        raise UsageError(f"{asked.kind}: {refusal}")
    store, connector = _means(settings, parts, asked)
    decision = seen[0]
    return {
        "allowed": decision.allowed,
        "rule": decision.rule,
        "why": decision.why,
        "max_bytes": decision.max_bytes,
        "artifact_store": store,
        "connector": connector,
    }


def _means(settings: Settings, parts: Parts, asked: JobFile) -> tuple[str | None, str | None]:
    """Return the names of the artifact store and the connector that *asked* would use."""
    uri = asked.parameters.get("uri")
    name = asked.parameters.get("artifact_store")
    if isinstance(uri, str):
        try:
            name = parts.tools.artifacts.find(ArtifactUri.parse(uri)).name
        except JobError:
            return None, None
    for store in settings.artifact_stores:
        if store.name == name:
            return store.name, store.connector
    connector = asked.parameters.get("connector")
    return None, connector if isinstance(connector, str) else None


def _job(job: dict[str, Any]) -> JobFile:
    try:
        return JobFile.model_validate(job)
    except ValidationError as exc:
        faults = exc.errors(include_input=False, include_url=False)
        where = [".".join(str(part) for part in fault["loc"]) for fault in faults]
        raise UsageError(
            f"the job file is wrong at {', '.join(where)}; it looks like "
            '{"kind": "fetch-artifact", "parameters": {"uri": "s3://bucket/key"}}'
        ) from None


def _never(_: object) -> None:
    raise AssertionError("explaining a policy touches no secret")
