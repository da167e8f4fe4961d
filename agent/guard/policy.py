"""The customer's policy: which kinds of jobs may touch what. Decides by names, touches nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal

from agent.artifact_uri import ArtifactUri
from agent.guard.patterns import ArtifactPattern, anchors


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """What a job is about to do; all that it names stands here, so that every rule sees it."""

    kind: str
    artifact: ArtifactUri | None = None
    pipeline: str | None = None
    connector: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """*rule* is the index in ``policy.rules``, None when no rule matched; *why* is for people.

    *max_bytes* is the largest content that the allowing rule permits.
    """

    allowed: bool
    rule: int | None
    why: str
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows or denies; None in the place of a set or patterns matches everything.

    A rule that has patterns for artifacts speaks about requests that name one, and no others; the
    same goes for pipelines and connectors, and for deny rules too: ``deny: "*"`` with
    ``artifacts`` does not stop a pipeline that reads those artifacts, since nobody names them.
    """

    verb: Literal["allow", "deny"]
    kinds: frozenset[str] | None
    artifacts: tuple[ArtifactPattern, ...] | None = None
    pipelines: tuple[re.Pattern[str], ...] | None = None
    connectors: tuple[re.Pattern[str], ...] | None = None
    max_bytes: int | None = None

    def matches(self, request: PolicyRequest) -> bool:
        return (
            (self.kinds is None or request.kind in self.kinds)
            and _names_match(self.pipelines, request.pipeline)
            and _names_match(self.connectors, request.connector)
            and self._artifact_matches(request.artifact)
        )

    def _artifact_matches(self, uri: ArtifactUri | None) -> bool:
        if self.artifacts is None:
            return True
        return uri is not None and any(pattern.matches(uri) for pattern in self.artifacts)


def _names_match(patterns: tuple[re.Pattern[str], ...] | None, name: str | None) -> bool:
    if patterns is None:
        return True
    return name is not None and any(pattern.fullmatch(name) for pattern in patterns)


class Policy:
    """Rules in the order of the configuration. Immutable; any thread may ask.

    A deny wins over every allow, whatever their order; otherwise the first matching allow decides;
    where nothing matches the answer is no.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._denies = _Rules("deny", rules)
        self._allows = _Rules("allow", rules)

    def decide(self, request: PolicyRequest) -> Decision:
        """Say whether *request* is allowed. To list, ask again for every entry found."""
        if denied := self._denies.first_match(request):
            n, _ = denied
            return Decision(allowed=False, rule=n, why=f"policy.rules[{n}] denies it")
        if allowed := self._allows.first_match(request):
            n, rule = allowed
            why = f"policy.rules[{n}] allows it"
            return Decision(allowed=True, rule=n, why=why, max_bytes=rule.max_bytes)
        return Decision(allowed=False, rule=None, why="no rule allows it")


class _Rules:
    """The rules of one verb, found by the beginnings of their artifact patterns."""

    def __init__(self, verb: Literal["allow", "deny"], rules: Sequence[Rule]) -> None:
        self._by_anchor: dict[tuple[str, ...], list[tuple[int, Rule]]] = {}
        for n, rule in enumerate(rules):
            if rule.verb == verb:
                for anchor in _anchors_of(rule):
                    self._by_anchor.setdefault(anchor, []).append((n, rule))

    def first_match(self, request: PolicyRequest) -> tuple[int, Rule] | None:
        keys = [()] if request.artifact is None else anchors(request.artifact)
        candidates = [entry for key in keys for entry in self._by_anchor.get(key, ())]
        candidates.sort(key=itemgetter(0))
        return next((entry for entry in candidates if entry[1].matches(request)), None)


def _anchors_of(rule: Rule) -> set[tuple[str, ...]]:
    return {()} if rule.artifacts is None else {pattern.anchor for pattern in rule.artifacts}
