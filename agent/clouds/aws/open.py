"""Builds logins to AWS from settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from agent.artifact_uri import ArtifactUri
from agent.clouds.aws.boto import Endpoint
from agent.clouds.aws.login import AwsLogin, Method
from agent.clouds.aws.methods import Exchanged, HostKey, StoredKey, WebIdentity
from agent.clouds.aws.narrowing import reading_policy
from agent.clouds.aws.sts import Policy, Sts, Wanted, compact
from agent.clouds.base import SecretSource
from agent.config import clouds as config
from agent.credentials import USUAL_S3, S3Access
from agent.errors import UsageError
from agent.telemetry.logs import get_logger

log = get_logger()

_NARROWED = ("iam-role", "web-identity", "federation-token")
_POLICY_LIMIT = 2048
"""Characters that STS takes."""


def open_aws_login(
    name: str,
    aws: config.AwsLogin,
    secrets: SecretSource,
    *,
    readable: Sequence[ArtifactUri] = (),
    s3: S3Access = USUAL_S3,
) -> AwsLogin:
    """Return the login that *aws* describes; does no I/O, loads no SDK.

    *s3* goes into the credentials as it is.

    Without a policy of their own, sessions of the methods that take one may read *readable*, as far
    as it is in S3, and nothing else; where that is nothing, they may what the role may. Where the
    places are too many for STS, sessions may read their whole buckets, and the log says so.

    *name* is for logs and the metric of the expiry, and unlike all others: of a secret store's
    login it is "secret store NAME", which no connector can be called.

    Raises:
        UsageError: The method needs a policy and has none, or the policy is too long for STS.
    """
    endpoint = Endpoint(aws.region, aws.endpoint_url, aws.sts_endpoint_url, aws.ca_file, s3)
    sts = Sts(endpoint)
    return AwsLogin(name, _method(name, aws, secrets, sts, readable), sts)


def _method(
    name: str,
    aws: config.AwsLogin,
    secrets: SecretSource,
    sts: Sts,
    readable: Sequence[ArtifactUri],
) -> Method:
    key = _key(aws, secrets, sts.endpoint)
    wanted = Wanted(
        session_name=aws.session_name,
        seconds=aws.duration,
        role=aws.role_arn,
        external_id=aws.external_id,
        policy=_policy(name, aws, readable),
    )
    match aws.method:
        case "secret-key" | "sts-token" | "implicit":
            return key
        case "session-token":
            return Exchanged(secrets, key, lambda used: sts.session_token(used, wanted))
        case "iam-role":
            return Exchanged(secrets, key, lambda used: sts.assume_role(used, wanted))
        case "federation-token":
            return Exchanged(secrets, key, lambda used: sts.federation_token(used, wanted))
        case "web-identity":
            token_file = aws.web_identity_token_file or Path()
            return WebIdentity(secrets, token_file, sts, wanted)
    assert_never(aws.method)


def _key(aws: config.AwsLogin, secrets: SecretSource, endpoint: Endpoint) -> Method:
    references = (aws.access_key_id, aws.secret_access_key, aws.session_token)
    given = [reference for reference in references if reference is not None]
    if aws.method == "implicit" or not given:
        return HostKey(secrets, endpoint)
    return StoredKey(secrets, given, endpoint)


def _policy(name: str, aws: config.AwsLogin, readable: Sequence[ArtifactUri]) -> Policy | None:
    if aws.method not in _NARROWED:
        return None
    places = [place for place in readable if place.scheme == "s3"]
    if aws.session_policy is None and places:
        return _reading(name, places, _partition(aws))
    if aws.session_policy is None and aws.method == "federation-token":
        raise UsageError(
            f"the AWS login of {name!r}: method federation-token needs session_policy, since "
            "without a policy AWS lets its token do nothing; connectors of artifact stores get one"
        )
    if aws.session_policy is not None and not _fits(aws.session_policy):
        raise UsageError(
            f"the AWS login of {name!r}: STS takes {_POLICY_LIMIT} characters of session_policy"
        )
    return aws.session_policy


def _reading(name: str, places: Sequence[ArtifactUri], partition: str) -> Policy:
    policy = reading_policy(places, partition=partition)
    if _fits(policy):
        return policy
    buckets = [ArtifactUri(place.scheme, place.bucket, ()) for place in places]
    policy = reading_policy(buckets, partition=partition)
    if _fits(policy):
        log.warning("credential.widened", connector=name, stores=len(places))
        return policy
    raise UsageError(
        f"the AWS login of {name!r}: STS takes {_POLICY_LIMIT} characters of session policy, and "
        f"{len(places)} artifact stores need more; use several connectors, or set session_policy"
    )


def _fits(policy: Policy) -> bool:
    return len(compact(policy)) <= _POLICY_LIMIT


def _partition(aws: config.AwsLogin) -> str:
    """Return AWS's word for its clouds apart: that of the role, or of the region."""
    if aws.role_arn is not None and aws.role_arn.startswith("arn:"):
        return aws.role_arn.split(":")[1]
    region = aws.region or ""
    for beginning, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if region.startswith(beginning):
            return partition
    return "aws"
