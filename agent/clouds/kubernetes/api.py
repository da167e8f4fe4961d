"""What is asked of a cluster, and what its answers and its silence mean.

The client library is loaded by the first question. No result is kept here.
"""

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from agent.clouds.kubernetes.client import client_for
from agent.clouds.kubernetes.subject import subject_of
from agent.credentials import KubernetesCredentials
from agent.errors import AccessDenied, JobError, NotFound, StoreUnavailable

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient, ApiException, V1SubjectRulesReviewStatus

T = TypeVar("T")
Question = Callable[["ApiClient"], Awaitable[T]]

_TRIES = 3
_DEADLINE = 15.0
_TIMEOUT = (5.0, 10.0)
"""To connect, and for a piece of an answer, in seconds."""
_ANONYMOUS = "system:anonymous"


class Forbidden(AccessDenied):
    """The cluster knows who asks, and that one has no right to it."""


async def user_of(credentials: KubernetesCredentials) -> str:
    """Return the user that the cluster takes *credentials* for.

    A cluster older than 1.28, or one that keeps its users from asking, tells no name; then it is
    the one that the credentials claim, which the cluster let in.

    Raises:
        AccessDenied: The cluster does not let them in.
        StoreUnavailable: It does not answer.
    """
    try:
        name = await _asked(credentials, _who_am_i)
    except (Forbidden, NotFound):
        await _asked(credentials, _let_in)
        return subject_of(credentials)
    if name == _ANONYMOUS:
        raise AccessDenied(detail="the cluster does not know these credentials")
    return name


async def secret_of(
    credentials: KubernetesCredentials, namespace: str, name: str
) -> Mapping[str, str]:
    """Return the data of a Secret, each value in base64.

    Raises:
        NotFound: There is none of that name.
        Forbidden: It may not be read.
        AccessDenied: The cluster does not let *credentials* in.
        StoreUnavailable: It does not answer.
    """

    async def read(client: "ApiClient") -> Mapping[str, str]:
        from kubernetes_asyncio.client import CoreV1Api

        core = CoreV1Api(client)
        secret = await core.read_namespaced_secret(name, namespace, _request_timeout=_TIMEOUT)
        return secret.data or {}

    return await _asked(credentials, read)


async def secret_rules_of(
    credentials: KubernetesCredentials, namespace: str
) -> "V1SubjectRulesReviewStatus":
    """Return what may be done in *namespace*, as far as the cluster tells.

    Raises:
        AccessDenied: The cluster does not let *credentials* in.
        StoreUnavailable: It does not answer.
    """

    async def ask(client: "ApiClient") -> "V1SubjectRulesReviewStatus":
        from kubernetes_asyncio.client import (
            AuthorizationV1Api,
            V1SelfSubjectRulesReview,
            V1SelfSubjectRulesReviewSpec,
        )

        spec = V1SelfSubjectRulesReviewSpec(namespace=namespace)
        asked = AuthorizationV1Api(client).create_self_subject_rules_review(
            V1SelfSubjectRulesReview(spec=spec), _request_timeout=_TIMEOUT
        )
        return (await asked).status

    return await _asked(credentials, ask)


async def _who_am_i(client: "ApiClient") -> str:
    from kubernetes_asyncio.client import AuthenticationV1Api, V1SelfSubjectReview

    asked = AuthenticationV1Api(client).create_self_subject_review(
        V1SelfSubjectReview(), _request_timeout=_TIMEOUT
    )
    return str((await asked).status.user_info.username)


async def _let_in(client: "ApiClient") -> None:
    """Ask what every user may ask, and nobody else."""
    from kubernetes_asyncio.client import (
        AuthorizationV1Api,
        V1ResourceAttributes,
        V1SelfSubjectAccessReview,
        V1SelfSubjectAccessReviewSpec,
    )

    attributes = V1ResourceAttributes(resource="secrets", verb="get", namespace="default")
    spec = V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    await AuthorizationV1Api(client).create_self_subject_access_review(
        V1SelfSubjectAccessReview(spec=spec), _request_timeout=_TIMEOUT
    )


async def _asked(credentials: KubernetesCredentials, question: Question[T]) -> T:
    # Loading it takes most of a second, during which the loop has other things to do.
    await asyncio.to_thread(importlib.import_module, "kubernetes_asyncio.client")
    tries = AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailable),
        stop=stop_after_attempt(_TRIES),
        wait=wait_random_exponential(multiplier=0.1, max=1.0),
        reraise=True,
    )
    try:
        async with asyncio.timeout(_DEADLINE):
            return await tries(_answered, credentials, question)
    except TimeoutError:
        detail = f"{credentials.server} did not answer within {_DEADLINE:.0f} s"
        raise StoreUnavailable(detail=detail) from None


async def _answered(credentials: KubernetesCredentials, question: Question[T]) -> T:
    with _translated(credentials):
        async with client_for(credentials) as client:
            return await question(client)


@contextmanager
def _translated(credentials: KubernetesCredentials) -> Iterator[None]:
    # Causes are cut off: they hold the answer, and some of the request's headers.
    from aiohttp import ClientConnectorCertificateError, ClientError
    from kubernetes_asyncio.client import ApiException

    server = credentials.server
    try:
        yield
    except ApiException as error:
        raise _refusal(error, credentials) from None
    except ClientConnectorCertificateError:
        detail = f"the certificate of {server} is not trusted; name its CA"
        raise StoreUnavailable(detail=detail) from None
    except (ClientError, OSError) as error:
        cause = getattr(error, "os_error", error)
        why = getattr(cause, "strerror", None) or type(cause).__name__
        raise StoreUnavailable(detail=f"{server} did not answer: {why}") from None


def _refusal(error: "ApiException", credentials: KubernetesCredentials) -> JobError:
    kinds: dict[object, type[JobError]] = {401: AccessDenied, 403: Forbidden, 404: NotFound}
    detail = f"{credentials.server} answered {error.status}"
    end = credentials.expires_at
    if error.status == 401 and end is not None and end < datetime.now(UTC):
        detail += f"; the credentials expired at {end:%F %T} UTC"
    return kinds.get(error.status, StoreUnavailable)(detail=detail)
