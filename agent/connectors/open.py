"""Builds the configured connectors; the only place of this folder that reads settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.artifact_uri import ArtifactUri
from agent.clouds.base import SecretSource
from agent.config import connectors as config
from agent.config.plugged import plugged
from agent.connectors.base import Connector
from agent.errors import UsageError

PLUGINS = "cloud_agent.connectors"

Factory = Callable[[str, Any, SecretSource, Sequence[ArtifactUri]], Connector[Any]]
"""Takes the name, the settings, where secrets are, and all that the credentials need to read."""


def open_connectors(
    connectors: Mapping[str, config.Connector],
    secrets: SecretSource,
    *,
    readable: Mapping[str, Sequence[ArtifactUri]] | None = None,
) -> dict[str, Connector[Any]]:
    """Return a connector for each name; does no I/O and loads no SDK.

    *readable* holds, for a connector's name, the roots that its credentials are to read: they are
    narrowed to them where the cloud can do that.

    Raises:
        UsageError: A type is unknown, or a connector can't be built from its settings.
    """
    roots = readable or {}
    return {
        name: _factory(name, connector.type)(name, connector, secrets, roots.get(name, ()))
        for name, connector in connectors.items()
    }


def _aws(
    name: str, aws: config.AwsConnector, secrets: SecretSource, readable: Sequence[ArtifactUri]
) -> Connector[Any]:
    from agent.clouds.aws.open import open_aws_login

    return open_aws_login(name, aws, secrets, readable=readable)


FACTORIES: Mapping[str, Factory] = {
    "aws": _aws,
}


def _factory(name: str, kind: str) -> Factory:
    if kind in FACTORIES:
        return FACTORIES[kind]
    plugin = plugged(PLUGINS, kind)
    if plugin is None:
        raise UsageError(f"connectors.{name}: there is no type {kind}")
    factory: Factory = plugin.open
    return factory
