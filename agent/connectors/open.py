"""Builds the configured connectors; the only place of this folder that knows all of them."""

from collections.abc import Mapping
from typing import assert_never

from agent.config import settings
from agent.connectors.aws import (
    AssumedRole,
    AwsConnector,
    HostKey,
    Method,
    SessionToken,
    StoredKey,
)
from agent.connectors.base import Connector
from agent.connectors.sts import Endpoint, Role, Sts
from agent.secrets.resolver import SecretResolver


def open_connectors(
    connectors: Mapping[str, settings.Connector], secrets: SecretResolver
) -> dict[str, Connector]:
    """Return a connector for each name; does no I/O and loads no SDK."""
    return {name: _open_aws(name, connector, secrets) for name, connector in connectors.items()}


def _open_aws(name: str, aws: settings.AwsConnector, secrets: SecretResolver) -> Connector:
    endpoint = Endpoint(aws.region, aws.endpoint_url, aws.sts_endpoint_url, aws.ca_file)
    sts = Sts(endpoint)
    return AwsConnector(name, _method(aws, secrets, sts), sts)


def _method(aws: settings.AwsConnector, secrets: SecretResolver, sts: Sts) -> Method:
    key = _key(aws, secrets, sts.endpoint)
    match aws.method:
        case "secret-key" | "sts-token" | "implicit":
            return key
        case "session-token":
            return SessionToken(secrets, key, sts, seconds=aws.duration)
        case "iam-role":
            return AssumedRole(secrets, key, sts, _role(aws))
    assert_never(aws.method)


def _key(aws: settings.AwsConnector, secrets: SecretResolver, endpoint: Endpoint) -> Method:
    references = (aws.access_key_id, aws.secret_access_key, aws.session_token)
    given = [reference for reference in references if reference is not None]
    if aws.method == "implicit" or not given:
        return HostKey(secrets, endpoint)
    return StoredKey(secrets, given, endpoint)


def _role(aws: settings.AwsConnector) -> Role:
    return Role(
        arn=aws.role_arn or "",
        session_name=aws.session_name,
        duration=aws.duration,
        external_id=aws.external_id,
        session_policy=aws.session_policy,
    )
