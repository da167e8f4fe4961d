"""Builds the policy from the configuration; what rules mean is not decided here."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.config import settings
from agent.errors import UsageError
from agent.guard.patterns import compile_name, compile_pattern
from agent.guard.policy import Policy, Rule

T = TypeVar("T")


def open_policy(configured: settings.Policy) -> Policy:
    """Return the policy that *configured* describes.

    Raises:
        UsageError: A pattern is wrong; the text names each of them by its key.
    """
    mistakes: list[str] = []
    rules = [_rule(rule, f"policy.rules[{n}]", mistakes) for n, rule in enumerate(configured.rules)]
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return Policy(rules)


def _rule(rule: settings.PolicyRule, key: str, mistakes: list[str]) -> Rule:
    kinds = rule.deny if rule.allow is None else rule.allow
    return Rule(
        verb="deny" if rule.allow is None else "allow",
        kinds=None if kinds is None or "*" in kinds else frozenset(kinds),
        artifacts=_compiled(rule.artifacts, compile_pattern, f"{key}.artifacts", mistakes),
        pipelines=_compiled(rule.pipelines, compile_name, f"{key}.pipelines", mistakes),
        connectors=_compiled(rule.connectors, compile_name, f"{key}.connectors", mistakes),
        max_bytes=rule.max_bytes,
    )


def _compiled(
    texts: Sequence[str] | None, compile_: Callable[[str], T], key: str, mistakes: list[str]
) -> tuple[T, ...] | None:
    if texts is None:
        return None
    compiled: list[T] = []
    for n, text in enumerate(texts):
        try:
            compiled.append(compile_(text))
        except ValueError as exc:
            mistakes.append(f"{key}[{n}]: {exc}")
    return tuple(compiled)
