"""What stands before a job: its kind, its parameters and the customer's policy. Touches no secret.

Whether there is room for it, and whether it was asked before, is for `runner` to say.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue, ValidationError

from agent.errors import BadParameters, PolicyDenied, Unsupported
from agent.guard.policy import Decision
from agent.jobs.execution import Execution
from agent.jobs.kind import Kind, Parameters, Ticket, Tools

Decided = Callable[[str, str, Decision], None]
"""Called with job, kind and decision, for the audit log and the metrics."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides what may run. Plain functions over the kinds; *decided* hears every decision."""

    kinds: Mapping[str, Kind[Any]]
    decided: Decided

    def prepare(
        self, ticket: Ticket, kind_name: str, parameters: Mapping[str, JsonValue], tools: Tools
    ) -> Execution:
        """Return the job ready to run, with the policy's limit on its ticket.

        Raises:
            Unsupported: No such kind.
            BadParameters: The parameters don't fit the kind; the message names the field only.
            PolicyDenied: The policy says no.
            JobError: The parameters name something that does not exist.
        """
        kind = self.kinds.get(kind_name)
        if kind is None:
            raise Unsupported("this agent does not know that kind of job")
        params = _validated(kind, parameters)
        decision = tools.decide(kind.asks(params, tools))
        self.decided(ticket.job, kind.name, decision)
        if not decision.allowed:
            raise PolicyDenied(detail=decision.why)
        return Execution(kind, params, replace(ticket, max_bytes=decision.max_bytes))


def digest_of(kind: str, parameters: Mapping[str, JsonValue]) -> str:
    """Return what two requests of the same job have in common when they ask for the same thing."""
    canonical = json.dumps([kind, parameters], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _validated(kind: Kind[Any], parameters: Mapping[str, JsonValue]) -> Parameters:
    try:
        params: Parameters = kind.parameters.model_validate(parameters)
    except ValidationError as exc:
        faults = exc.errors(include_input=False, include_url=False, include_context=False)
        where = ".".join(str(part) for part in faults[0]["loc"])
        said = faults[0]["msg"].removeprefix("Value error, ")
        raise BadParameters(f"{where}: {said}" if where else said) from None
    return params
