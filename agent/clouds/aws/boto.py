"""The border to boto3: one question to one service of AWS. What is asked stands in other files.

boto3 and botocore are imported in this folder alone, and loaded by the first question.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from agent.credentials import USUAL_S3, AwsCredentials, S3Access
from agent.errors import AccessDenied, NotFound, StoreUnavailable
from agent.secret import Secret
from agent.threads import Threads

if TYPE_CHECKING:
    from boto3 import Session
    from botocore.exceptions import ClientError

DEFAULT_REGION = "us-east-1"
_THREADS = 8
_DEADLINE = 20.0
_CONNECT_TIMEOUT = 3
_READ_TIMEOUT = 5
_ATTEMPTS = 3
# Some services say 400 of what others say 404 or 429 of, so that only the code tells.
_MISSING = ("NotFound", "NotFoundException")
_BUSY = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}

Client = TypeVar("Client")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where credentials are good for, and how STS is reached."""

    region: str | None = None
    url: str | None = None
    sts_url: str | None = None
    ca_file: Path | None = None
    s3: S3Access = USUAL_S3
    threads: Threads = field(default_factory=lambda: Threads("aws", size=_THREADS))
    """Of one login and of the services it is for; the login closes them."""

    def credentials(
        self, key: tuple[Secret, Secret, Secret | None], expires_at: datetime | None = None
    ) -> AwsCredentials:
        """Return *key*, an id, its secret and a session token, as credentials for this place."""
        # botocore says it in the time of the host.
        until = expires_at.astimezone(UTC) if expires_at else None
        return AwsCredentials(*key, self.region, self.url, until, self.ca_file, self.s3)


class Service(Generic[Client]):
    """The service that boto3 knows as *name*, at *url* or where AWS has it.

    Every question runs in a thread and ends within twenty seconds, tries included. It raises
    AccessDenied when AWS refuses the credentials or the request, NotFound when what it names is not
    there, and StoreUnavailable when AWS does not answer. `detail` holds the code of the error, and
    no text that could quote a signed request.
    """

    def __init__(self, name: str, endpoint: Endpoint, *, url: str | None = None) -> None:
        self._name = name
        self._endpoint = endpoint
        self._url = url
        self._making = Lock()
        self._session: Session | None = None

    async def ask(self, key: AwsCredentials | None, question: Callable[[Client], T]) -> T:
        """Return what *question* makes of a client that signs with *key*, or not at all."""
        return await in_thread(self._endpoint, lambda: self._answer(key, question))

    def _answer(self, key: AwsCredentials | None, question: Callable[[Client], T]) -> T:
        with closing(self._client(key)) as client:
            return question(client)

    def _client(self, key: AwsCredentials | None) -> Any:
        from boto3 import Session
        from botocore import UNSIGNED
        from botocore.config import Config

        # A session is not for several threads at once; a new one costs twenty times a client.
        with self._making:
            session = self._session = self._session or Session()
            region = (key.region if key else None) or self._endpoint.region or session.region_name
            # The stubs know a client by the literal name of its service.
            connect: Any = session.client
            return connect(
                self._name,
                region_name=region or DEFAULT_REGION,
                endpoint_url=self._url,
                verify=str(self._endpoint.ca_file) if self._endpoint.ca_file else None,
                config=Config(
                    # Without a key botocore would else look for one, at a metadata service too.
                    signature_version=None if key else UNSIGNED,
                    connect_timeout=_CONNECT_TIMEOUT,
                    read_timeout=_READ_TIMEOUT,
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                ),
                **(_revealed(key) if key else {}),
            )


def _revealed(key: AwsCredentials) -> dict[str, Any]:
    return {
        "aws_access_key_id": key.access_key_id.reveal(),
        "aws_secret_access_key": key.secret_access_key.reveal(),
        "aws_session_token": key.session_token.reveal() if key.session_token else None,
    }


async def in_thread(endpoint: Endpoint, work: Callable[[], T]) -> T:
    """Return the result of *work*, with botocore's errors turned into those of `Service`."""
    try:
        async with asyncio.timeout(_DEADLINE):
            return await endpoint.threads.run(lambda: _translated_result(work))
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
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _refusal(error) from None
    except (BotoCoreError, Boto3Error, ResponseParserError) as error:
        raise StoreUnavailable(detail=f"AWS did not answer: {type(error).__name__}") from None


def _refusal(error: "ClientError") -> AccessDenied | NotFound | StoreUnavailable:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "Unknown")
    detail = f"{error.operation_name} answered {status} {code}"
    if code.endswith(_MISSING):
        return NotFound(detail=detail)
    # AWS says 400 of some things that are wrong with the request; trying again helps with none.
    if 400 <= status < 500 and status != 429 and code not in _BUSY:
        return AccessDenied(detail=detail)
    return StoreUnavailable(detail=detail)
