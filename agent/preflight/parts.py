"""Looks at what the agent works with: secret stores, connectors, artifact stores, policy."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from typing import Any

from agent.artifacts.base import ArtifactStore
from agent.artifacts.open import open_artifact_stores
from agent.config.settings import PolicyRule, Settings
from agent.connectors.base import Connector
from agent.connectors.open import open_connectors
from agent.errors import UsageError
from agent.guard.open import open_policy
from agent.guard.patterns import compile_name
from agent.parts import readable_by
from agent.preflight.rows import Row, Status, bounded
from agent.secret import Secret
from agent.secrets.one_use import nothing_used_up
from agent.secrets.open import open_secret_stores
from agent.secrets.resolver import SecretResolver

BLOCK_BYTES = 64 * 1024


async def part_rows(settings: Settings) -> list[Row]:
    """Open every part, ask each whether it works, all at once, and close them again."""
    async with AsyncExitStack() as opened:
        try:
            secrets = open_secret_stores(settings.secret_stores, on_secret=_nobody)
            opened.push_async_callback(secrets.close)
            connectors = open_connectors(
                settings.connectors, secrets, readable=readable_by(settings.artifact_stores)
            )
            for connector in connectors.values():
                opened.push_async_callback(connector.close)
            stores = open_artifact_stores(
                settings.artifact_stores, connectors, block_bytes=lambda: BLOCK_BYTES
            )
            opened.push_async_callback(stores.close)
        except UsageError as exc:
            return [Row(Status.FAIL, "parts", str(exc), "mend the configuration")]
        unsafe = list(_unverified(settings))
        checks = [
            *(_secret_store(name, secrets) for name in settings.secret_stores),
            *(_connector(connector) for connector in connectors.values()),
            *(_artifact_store(store) for store in stores),
        ]
        with nothing_used_up():
            return [*await asyncio.gather(*checks), *unsafe]


def _unverified(settings: Settings) -> Iterator[Row]:
    """Warn of servers whose certificate nobody looks at."""
    named = (("connector", settings.connectors), ("secret store", settings.secret_stores))
    for kind, parts in named:
        for name, part in parts.items():
            if getattr(part, "insecure", False):
                what = "the server's certificate is not verified"
                advice = "name its CA in ca_file, and remove insecure: true"
                yield Row(Status.WARN, f"{kind} {name}", what, advice)


def _nobody(_secret: Secret) -> None:
    """A check shows no content, so that nobody has to hear of secrets to remove them from it."""


async def _secret_store(name: str, secrets: SecretResolver) -> Row:
    what = f"secret store {name}"

    async def check() -> Row:
        return Row(Status.PASS, what, await secrets.check(name))

    advice = "look at it in secret_stores: where it is, whether it is unsealed, and the login"
    return await bounded(what, check(), advice=advice)


async def _connector(connector: Connector[Any]) -> Row:
    what = f"connector {connector.name}"

    async def check() -> Row:
        who = await connector.identity()
        until = f", until {who.expires_at:%F %T %Z}" if who.expires_at else ""
        return Row(Status.PASS, what, f"is {who.name}{until}")

    advice = "look at the secrets the connector names, and at what they may do"
    return await bounded(what, check(), advice=advice)


async def _artifact_store(store: ArtifactStore) -> Row:
    what = f"artifact store {store.name}"

    async def check() -> Row:
        return Row(Status.PASS, what, await store.check())

    advice = "look at the store's uri, its connector, and whether that may list and read there"
    return await bounded(what, check(), advice=advice)


def policy_rows(settings: Settings) -> list[Row]:
    """Warn of a policy that allows nothing, and of rules that can't match what is configured."""
    rules = settings.policy.rules
    try:
        open_policy(settings.policy)
    except UsageError as exc:
        return [Row(Status.FAIL, "policy", str(exc), "mend the patterns")]
    if not any(rule.allow for rule in rules):
        advice = "add a rule with allow to policy.rules; without one every job is refused"
        return [Row(Status.WARN, "policy", "it allows nothing", advice)]
    idle = list(_idle(settings))
    advice = "mend the rule's pattern, or configure what it is for"
    warnings = [Row(Status.WARN, "policy", found, advice) for found in idle]
    return warnings or [Row(Status.PASS, "policy", f"{len(rules)} rules, each can match something")]


def _idle(settings: Settings) -> Iterator[str]:
    for at, rule in enumerate(settings.policy.rules):
        for patterns in _patterns_in_vain(rule, settings):
            yield f"policy.rules.{at} matches no configured {patterns}"


def _patterns_in_vain(rule: PolicyRule, settings: Settings) -> Iterator[str]:
    roots = [str(store.root) for store in settings.artifact_stores]
    names = [pipeline.name for pipeline in settings.pipelines]
    if rule.artifacts is not None and not any(
        _may_meet(pattern, root) for pattern in rule.artifacts for root in roots
    ):
        yield "artifact store"
    if rule.pipelines is not None and not _any_named(rule.pipelines, names):
        yield "pipeline"
    if rule.connectors is not None and not _any_named(rule.connectors, settings.connectors):
        yield "connector"


def _any_named(patterns: Iterable[str], names: Iterable[str]) -> bool:
    compiled = [compile_name(pattern) for pattern in patterns]
    return any(pattern.fullmatch(name) for name in names for pattern in compiled)


def _may_meet(pattern: str, root: str) -> bool:
    """Compare as far as *pattern* is literal; what follows a wildcard may be anything."""
    literal = pattern.partition("*")[0].partition("?")[0]
    if "://" not in pattern:
        return True
    return literal.startswith(root) or root.startswith(literal)
