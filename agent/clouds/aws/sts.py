"""The border to boto3: what AWS STS and the host's own credentials answer.

The only importer of boto3 and botocore; both are loaded by the first call. No result is kept here.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import JsonValue

from agent.credentials import AwsCredentials
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable
from agent.secret import Secret

if TYPE_CHECKING:
    from boto3 import Session
    from botocore.exceptions import ClientError
    from mypy_boto3_sts import STSClient
    from mypy_boto3_sts.type_defs import CredentialsTypeDef

T = TypeVar("T")

_DEADLINE = 20.0
_CONNECT_TIMEOUT = 3
_READ_TIMEOUT = 5
_ATTEMPTS = 3
_DEFAULT_REGION = "us-east-1"
_LEAST_OF_HOST = timedelta(minutes=10)
"""botocore refreshes what expires, by the time it has this much left."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where credentials are good for, and how STS is reached."""

    region: str | None = None
    url: str | None = None
    sts_url: str | None = None
    ca_file: Path | None = None

    def credentials(
        self, key: tuple[Secret, Secret, Secret | None], expires_at: datetime | None = None
    ) -> AwsCredentials:
        """Return *key*, an id, its secret and a session token, as credentials for this place."""
        return AwsCredentials(*key, self.region, self.url, expires_at, self.ca_file)


@dataclass(frozen=True, slots=True)
class Role:
    """What is asked of AssumeRole; *duration* in seconds."""

    arn: str
    session_name: str
    duration: float
    external_id: str | None = None
    session_policy: Mapping[str, JsonValue] | None = None

    def request(self) -> dict[str, Any]:
        """Return the arguments of AssumeRole."""
        wanted = {
            "RoleArn": self.arn,
            "RoleSessionName": self.session_name,
            "DurationSeconds": int(self.duration),
            "ExternalId": self.external_id,
            "Policy": json.dumps(self.session_policy) if self.session_policy else None,
        }
        return {name: value for name, value in wanted.items() if value is not None}


class Sts:
    """Asks the STS of *endpoint*; every call runs in a thread and ends within twenty seconds.

    Each raises AccessDenied when STS refuses the credentials or the request, and StoreUnavailable
    when it does not answer. `detail` holds the code of the error, and no text that could quote a
    signed request.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def session_token(self, key: AwsCredentials, seconds: float) -> AwsCredentials:
        """Return temporary credentials with the rights of *key*."""
        return await _in_thread(lambda: self._session_token(key, int(seconds)))

    async def assume_role(self, key: AwsCredentials, role: Role) -> AwsCredentials:
        """Return temporary credentials of *role*."""
        return await _in_thread(lambda: self._assume_role(key, role))

    async def caller(self, key: AwsCredentials) -> str:
        """Return the ARN of whoever *key* is."""
        return await _in_thread(lambda: self._caller(key))

    def _session_token(self, key: AwsCredentials, seconds: int) -> AwsCredentials:
        with closing(self._client(key)) as client:
            answer = client.get_session_token(DurationSeconds=seconds)
        return self._issued(answer["Credentials"])

    def _assume_role(self, key: AwsCredentials, role: Role) -> AwsCredentials:
        with closing(self._client(key)) as client:
            answer = client.assume_role(**role.request())
        return self._issued(answer["Credentials"])

    def _caller(self, key: AwsCredentials) -> str:
        with closing(self._client(key)) as client:
            return client.get_caller_identity()["Arn"]

    def _issued(self, issued: "CredentialsTypeDef") -> AwsCredentials:
        key = (
            Secret(issued["AccessKeyId"]),
            Secret(issued["SecretAccessKey"]),
            Secret(issued["SessionToken"]),
        )
        return self.endpoint.credentials(key, issued["Expiration"])

    def _client(self, key: AwsCredentials) -> "STSClient":
        from boto3 import Session
        from botocore.config import Config

        session = Session(
            aws_access_key_id=key.access_key_id.reveal(),
            aws_secret_access_key=key.secret_access_key.reveal(),
            aws_session_token=key.session_token.reveal() if key.session_token else None,
        )
        return session.client(
            "sts",
            region_name=self.endpoint.region or session.region_name or _DEFAULT_REGION,
            endpoint_url=self.endpoint.sts_url or self.endpoint.url,
            verify=str(self.endpoint.ca_file) if self.endpoint.ca_file else None,
            config=Config(
                connect_timeout=_CONNECT_TIMEOUT,
                read_timeout=_READ_TIMEOUT,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            ),
        )


class HostCredentials:
    """What the host offers, by boto3's chain: environment, files, web identity, metadata service.

    The chain is walked at the first call and after `forget`; botocore refreshes what expires.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session: Session | None = None

    async def current(self) -> AwsCredentials:
        """Return what is valid now.

        Raises:
            CredentialUnavailable: The host offers nothing.
            StoreUnavailable: What the host offers could not be refreshed.
        """
        return await _in_thread(self._current)

    def forget(self) -> None:
        """Walk the chain again at the next call; idempotent."""
        self._session = None

    def _current(self) -> AwsCredentials:
        from boto3 import Session
        from botocore.credentials import RefreshableCredentials

        session = self._session or Session()
        now = datetime.now(UTC)
        offered = session.get_credentials()
        frozen = offered.get_frozen_credentials() if offered else None
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise CredentialUnavailable(
                detail="no AWS credentials in the environment, in files or at a metadata service"
            )
        self._session = session
        token = Secret(frozen.token) if frozen.token else None
        key = (Secret(frozen.access_key), Secret(frozen.secret_key), token)
        expires = isinstance(offered, RefreshableCredentials)
        place = replace(self._endpoint, region=self._endpoint.region or session.region_name)
        return place.credentials(key, now + _LEAST_OF_HOST if expires else None)


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        async with asyncio.timeout(_DEADLINE):
            return await asyncio.to_thread(_translated_result, work)
    except TimeoutError:
        detail = f"AWS did not answer within {_DEADLINE:.0f} s"
        raise StoreUnavailable(detail=detail) from None


def _translated_result(work: Callable[[], T]) -> T:
    with _translated():
        return work()


@contextmanager
def _translated() -> Iterator[None]:
    # Causes are cut off: they hold the request, and some of AWS's texts quote what was signed.
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refusal(error) from None
    except (BotoCoreError, Boto3Error) as error:
        raise StoreUnavailable(detail=f"AWS did not answer: {type(error).__name__}") from None


def _refusal(error: "ClientError") -> AccessDenied | StoreUnavailable:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "Unknown")
    detail = f"{error.operation_name} answered {status} {code}"
    # STS says 400 for some things that are wrong with the request; trying again helps with none.
    if 400 <= status < 500 and status != 429:
        return AccessDenied(detail=detail)
    return StoreUnavailable(detail=detail)
