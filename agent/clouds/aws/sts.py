"""What AWS STS is asked for. No result is kept here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from agent.clouds.aws.boto import Endpoint, Service
from agent.credentials import AwsCredentials
from agent.secret import Secret

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient
    from mypy_boto3_sts.type_defs import CredentialsTypeDef

Policy = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: a session that lasts *seconds*, of *role* where there is one."""

    session_name: str
    seconds: float
    role: str | None = None
    external_id: str | None = None
    policy: Policy | None = None

    def request(self) -> dict[str, Any]:
        """Return the arguments that all of STS's actions with a policy take."""
        policy = {"Policy": compact(self.policy)} if self.policy else {}
        return {"DurationSeconds": int(self.seconds), **policy}

    def role_request(self) -> dict[str, Any]:
        """Return the arguments that the actions with a role take."""
        return {"RoleArn": self.role, "RoleSessionName": self.session_name, **self.request()}


def compact(policy: Policy) -> str:
    """Return *policy* in as few characters as JSON needs, since STS counts them."""
    return json.dumps(policy, separators=(",", ":"))


class Sts:
    """Asks the STS of *endpoint*; each question raises what those of a `Service` do."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._service: Service[STSClient]
        self._service = Service("sts", endpoint, url=endpoint.sts_url or endpoint.url)

    async def session_token(self, key: AwsCredentials, wanted: Wanted) -> AwsCredentials:
        """Return temporary credentials with the rights of *key*."""
        seconds = int(wanted.seconds)
        answer = await self._service.ask(
            key, lambda sts: sts.get_session_token(DurationSeconds=seconds)
        )
        return self._issued(answer["Credentials"])

    async def federation_token(self, key: AwsCredentials, wanted: Wanted) -> AwsCredentials:
        """Return temporary credentials with those rights of *key* that the policy names."""
        request = {"Name": wanted.session_name, **wanted.request()}
        answer = await self._service.ask(key, lambda sts: sts.get_federation_token(**request))
        return self._issued(answer["Credentials"])

    async def assume_role(self, key: AwsCredentials, wanted: Wanted) -> AwsCredentials:
        """Return temporary credentials of the role."""
        request = wanted.role_request()
        if wanted.external_id is not None:
            request["ExternalId"] = wanted.external_id
        answer = await self._service.ask(key, lambda sts: sts.assume_role(**request))
        return self._issued(answer["Credentials"])

    async def assume_role_with(self, token: Secret, wanted: Wanted) -> AwsCredentials:
        """Return temporary credentials of the role for the identity that *token* proves."""
        request = {"WebIdentityToken": token.reveal(), **wanted.role_request()}
        answer = await self._service.ask(
            None, lambda sts: sts.assume_role_with_web_identity(**request)
        )
        return self._issued(answer["Credentials"])

    async def caller(self, key: AwsCredentials) -> str:
        """Return the ARN of whoever *key* is."""
        return (await self._service.ask(key, lambda sts: sts.get_caller_identity()))["Arn"]

    async def proof(self, key: AwsCredentials, headers: Mapping[str, str]) -> str:
        """Return a URL that tells whoever opens it with *headers* what `caller` does; asks nobody.

        It is as good as a password while it is valid, a minute for STS itself.
        """
        return await self._service.ask(key, lambda sts: _signed(sts, key, headers))

    def _issued(self, issued: "CredentialsTypeDef") -> AwsCredentials:
        key = (
            Secret(issued["AccessKeyId"]),
            Secret(issued["SecretAccessKey"]),
            Secret(issued["SessionToken"]),
        )
        return self.endpoint.credentials(key, issued["Expiration"])


def _signed(sts: "STSClient", key: AwsCredentials, headers: Mapping[str, str]) -> str:
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    token = key.session_token.reveal() if key.session_token else None
    signer = Credentials(key.access_key_id.reveal(), key.secret_access_key.reveal(), token)
    url = f"{sts.meta.endpoint_url}/?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest(method="GET", url=url, headers=dict(headers))
    SigV4QueryAuth(signer, "sts", sts.meta.region_name, expires=60).add_auth(request)
    return str(request.url)
