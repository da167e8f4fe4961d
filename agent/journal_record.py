"""One job's entry in the journal, and its form in the file; no I/O."""

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from agent.journal_file import Row, State

_KEPT_OUTCOME_CHARACTERS = 1024
_BULKY = ("result", "message")
_BODY = ("digest", "kind", "parameters", "deadline_at", "accepted_at", "durable", "outcome")


@dataclass(frozen=True, slots=True)
class Record:
    """One job. *digest* identifies its content, times are Unix time, *outcome* is as reported."""

    job: str
    digest: str
    kind: str
    parameters: Mapping[str, JsonValue]
    deadline_at: float | None = None
    accepted_at: float = field(default_factory=time.time)
    state: State = "accepted"
    durable: bool = False
    """The acceptance is known to be on the disk."""
    outcome: Mapping[str, JsonValue] | None = None


def settled(record: Record) -> Record:
    """Return what is kept of *record* to know its id and answer for it again."""
    outcome = record.outcome
    if outcome is not None and len(json.dumps(outcome)) > _KEPT_OUTCOME_CHARACTERS:
        outcome = {key: outcome[key] for key in outcome if key not in _BULKY}
    return dataclasses.replace(record, state="settled", parameters={}, outcome=outcome)


def row_of(record: Record) -> Row:
    """Return *record* as it is stored."""
    body = {name: getattr(record, name) for name in _BODY}
    settled_at = time.time() if record.state == "settled" else None
    return Row(record.job, record.state, json.dumps(body), settled_at)


def record_of(row: Row) -> Record:
    """Return the record that *row* stores."""
    return Record(job=row.job, state=row.state, **json.loads(row.body))
