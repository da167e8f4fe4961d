"""Builds logins to AWS from settings."""

from collections.abc import Sequence
from typing import assert_never

from agent.artifact_uri import ArtifactUri
from agent.clouds.aws.login import (
    AssumedRole,
    AwsLogin,
    HostKey,
    Method,
    SessionToken,
    StoredKey,
)
from agent.clouds.aws.sts import Endpoint, Role, Sts
from agent.clouds.base import SecretSource
from agent.config import clouds as config
from agent.errors import UsageError


def open_aws_login(
    name: str,
    aws: config.AwsLogin,
    secrets: SecretSource,
    *,
    readable: Sequence[ArtifactUri] = (),  # noqa: ARG001  # narrowing comes with the AWS work
) -> AwsLogin:
    """Return the login that *aws* describes, narrowed to *readable*; does no I/O, loads no SDK."""
    endpoint = Endpoint(aws.region, aws.endpoint_url, aws.sts_endpoint_url, aws.ca_file)
    sts = Sts(endpoint)
    return AwsLogin(name, _method(name, aws, secrets, sts), sts)


def _method(name: str, aws: config.AwsLogin, secrets: SecretSource, sts: Sts) -> Method:
    key = _key(aws, secrets, sts.endpoint)
    match aws.method:
        case "secret-key" | "sts-token" | "implicit":
            return key
        case "session-token":
            return SessionToken(secrets, key, sts, seconds=aws.duration)
        case "iam-role":
            return AssumedRole(secrets, key, sts, _role(aws))
        case "federation-token" | "web-identity":
            raise UsageError(f"{name}: method {aws.method} is not there yet")
    assert_never(aws.method)


def _key(aws: config.AwsLogin, secrets: SecretSource, endpoint: Endpoint) -> Method:
    references = (aws.access_key_id, aws.secret_access_key, aws.session_token)
    given = [reference for reference in references if reference is not None]
    if aws.method == "implicit" or not given:
        return HostKey(secrets, endpoint)
    return StoredKey(secrets, given, endpoint)


def _role(aws: config.AwsLogin) -> Role:
    return Role(
        arn=aws.role_arn or "",
        session_name=aws.session_name,
        duration=aws.duration,
        external_id=aws.external_id,
        session_policy=aws.session_policy,
    )
