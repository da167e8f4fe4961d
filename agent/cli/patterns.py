"""Checks the policy's patterns along with the configuration, which knows no patterns itself."""

from collections.abc import Callable, Iterator, Mapping

from agent.config.origins import Key
from agent.config.problems import Problem
from agent.guard.patterns import compile_name, compile_pattern

_COMPILERS: Mapping[str, Callable[[str], object]] = {
    "artifacts": compile_pattern,
    "pipelines": compile_name,
    "connectors": compile_name,
}


def wrong_patterns(tree: Mapping[str, object]) -> Iterator[Problem]:
    """Yield a problem for each pattern of the policy that can't mean what it seems to."""
    policy = tree.get("policy")
    rules = policy.get("rules") if isinstance(policy, dict) else None
    for key, rule in _listed(("policy", "rules"), rules):
        if isinstance(rule, dict):
            yield from _wrong_in_rule(key, rule)


def _wrong_in_rule(key: Key, rule: Mapping[str, object]) -> Iterator[Problem]:
    for name, compile_ in _COMPILERS.items():
        for at, text in _listed((*key, name), rule.get(name)):
            mistake = _mistake(compile_, text) if isinstance(text, str) else None
            if mistake:
                yield Problem(at, mistake)


def _listed(key: Key, values: object) -> Iterator[tuple[Key, object]]:
    for at, value in enumerate(values if isinstance(values, list) else []):
        yield (*key, at), value


def _mistake(compile_: Callable[[str], object], text: str) -> str | None:
    try:
        compile_(text)
    except ValueError as exc:
        return str(exc)
    return None
