"""Secrets in Google Cloud Secret Manager, by its library over our session.

The library is loaded by the first reading. Logging in is not done here.
"""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

from agent.clouds.gcp.auth import refusal
from agent.clouds.gcp.login import GcpLogin
from agent.credentials import GcpCredentials
from agent.errors import (
    AccessDenied,
    CredentialUnavailable,
    NotFound,
    StoreUnavailable,
    UsageError,
)
from agent.http_session import (
    CONNECT_SECONDS,
    HttpSession,
    RequestException,
    Response,
)
from agent.retrying import patiently
from agent.secrets.base import SecretValue
from agent.secrets.fields import text_fields
from agent.threads import Threads

DEFAULT_ENDPOINT = "https://secretmanager.googleapis.com"

_THREADS = 4
_ANSWER_SECONDS = 15.0
_DEADLINE = 30.0
_PROBE = "cloud-agent-check"
_PATH = re.compile(r"(?:projects/[^/\s]+/(?:locations/[^/\s]+/)?secrets/)?[A-Za-z0-9_-]{1,255}")
_VERSION = re.compile(r"[A-Za-z0-9_-]{1,63}")


def require_package(where: str) -> None:
    """Refuse to go on without the library; *where* names the part of the configuration.

    Raises:
        UsageError: It is not installed.
    """
    try:
        found = find_spec("google.cloud.secretmanager_v1")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise UsageError(
            f"{where}: it needs the extra gcp-secret-manager: "
            "pip install 'cloud-agent[gcp-secret-manager]'"
        )


class GcpSecretManagerStore:
    """Reads texts, whose JSON members can be named as fields, in the version asked for.

    A path, behind *prefix*, is the name of a secret in the project of the login, or
    ``projects/PROJECT/secrets/NAME``; a version is a number or an alias. The checksum that Google
    keeps of a secret must be that of what came.
    """

    def __init__(self, login: GcpLogin[GcpCredentials], *, prefix: str) -> None:
        self._login = login
        self._prefix = prefix
        self._making = threading.Lock()
        self._client: tuple[GcpCredentials, _Client] | None = None
        self._threads = Threads("gcp-secrets", size=_THREADS)

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        name = self._prefix + path
        if not _PATH.fullmatch(name):
            raise CredentialUnavailable(detail=f"{name!r} is no name of a secret")
        if version is not None and not _VERSION.fullmatch(version):
            raise CredentialUnavailable(detail=f"{version!r} is no version of a secret")
        try:
            text = await self._login.ask(
                lambda credentials: self._asked(credentials, name, version or "latest")
            )
        except NotFound as failure:
            what = repr(name) if version is None else f"{name!r}, or no version {version!r} of it"
            detail = f"Secret Manager has no secret {what}: {failure.detail}"
        except (AccessDenied, StoreUnavailable) as failure:
            detail = f"Secret Manager, asked for {name!r}: {failure.detail}"
        else:
            return SecretValue(text_fields(text))
        raise CredentialUnavailable(detail=detail)

    def forget(self, path: str) -> None:
        """Nothing is kept here."""

    async def check(self) -> str:
        try:
            who = await self._login.identity()
            allowed = await self._probed()
        except (AccessDenied, StoreUnavailable) as failure:
            raise CredentialUnavailable(detail=f"Secret Manager: {failure.detail}") from None
        until = f", until {who.expires_at:%F %T %Z}" if who.expires_at else ""
        limit = "" if allowed else ", but not every secret may be read"
        return f"Secret Manager answers {who.name}{until}{limit}"

    async def close(self) -> None:
        await self._login.close()
        kept, self._client = self._client, None
        if kept is not None:
            kept[1].close()
        self._threads.close()

    async def _probed(self) -> bool:
        """Say whether a secret that nobody has may be read: rights may be given for single ones.

        Raises:
            AccessDenied: The token is not taken at all.
        """
        name = self._prefix + _PROBE
        try:
            await self._login.ask(lambda credentials: self._asked(credentials, name, "latest"))
        except NotFound:
            return True
        except AccessDenied as failure:
            if "PERMISSION_DENIED" not in (failure.detail or ""):
                raise
            return False
        return True

    async def _asked(self, credentials: GcpCredentials, name: str, version: str) -> str:
        full = f"{_full(name, credentials.project_id)}/versions/{version}"
        return await patiently(partial(self._in_thread, credentials, full))

    async def _in_thread(self, credentials: GcpCredentials, name: str) -> str:
        try:
            async with asyncio.timeout(_DEADLINE):
                return await self._threads.run(lambda: self._client_for(credentials).text(name))
        except TimeoutError:
            raise StoreUnavailable(detail=f"no answer within {_DEADLINE:.0f} s") from None

    def _client_for(self, credentials: GcpCredentials) -> "_Client":
        with self._making:
            if self._client is None or self._client[0] != credentials:
                before, self._client = self._client, (credentials, _Client(credentials))
                if before is not None:
                    before[1].close()
            return self._client[1]


class _Client:
    """Google's library with one token. Every call blocks; safe for concurrent threads."""

    def __init__(self, credentials: GcpCredentials) -> None:
        try:
            self._session = HttpSession(ca_file=credentials.ca_file)
        except OSError as error:
            detail = f"{credentials.ca_file}: {error.strerror or type(error).__name__}"
            raise CredentialUnavailable(detail=detail) from None
        self._session.headers["Authorization"] = f"Bearer {credentials.token.reveal()}"
        self._session.hooks["response"].append(_require_answer)
        self._transport = _transport((credentials.endpoint_url or DEFAULT_ENDPOINT).rstrip("/"))
        # Its own session would follow redirects and take a CA from the environment.
        self._transport._session = self._session  # noqa: SLF001

    def text(self, name: str) -> str:
        """Return what stands in the version *name*."""
        from google.cloud.secretmanager_v1 import AccessSecretVersionRequest

        with _translated():
            answer = self._transport.access_secret_version(
                AccessSecretVersionRequest(name=name), timeout=(CONNECT_SECONDS, _ANSWER_SECONDS)
            )
        return _verified(answer.payload)

    def close(self) -> None:
        self._session.close()


def _transport(endpoint: str) -> Any:
    """Return the library's way to speak REST.

    The client around it would set up logs of its own, with tokens and secrets in them, where
    GOOGLE_SDK_PYTHON_LOGGING_SCOPE says so.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.secretmanager_v1.services.secret_manager_service.transports import rest

    return rest.SecretManagerServiceRestTransport(host=endpoint, credentials=AnonymousCredentials())


def _full(name: str, project_id: str | None) -> str:
    if name.startswith("projects/"):
        return name
    if project_id is None:
        raise CredentialUnavailable(detail="the credentials name no project; set project_id")
    return f"projects/{project_id}/secrets/{name}"


def _require_answer(response: Response, **_: object) -> None:
    """Refuse a redirect, which the library would take for an answer without a secret."""
    if 300 <= response.status_code < 400:
        response.close()
        raise StoreUnavailable(detail=f"Google answered {response.status_code}")


def _verified(payload: Any) -> str:
    import google_crc32c

    if "data_crc32c" in payload and google_crc32c.value(payload.data) != payload.data_crc32c:
        raise StoreUnavailable(detail="the secret has another crc32c than Google says")
    try:
        return str(payload.data, "utf-8")
    except UnicodeDecodeError:
        raise CredentialUnavailable(detail="the secret is no text") from None


@contextmanager
def _translated() -> Iterator[None]:
    from google.api_core.exceptions import GoogleAPICallError
    from google.protobuf.json_format import ParseError

    try:
        yield
    except GoogleAPICallError as error:
        status = int(error.code or 0)
        body = error.response.text if isinstance(error.response, Response) else ""
        found = refusal(status, body, by="Google")
        raise (NotFound(detail=found.detail) if status == 404 else found) from None
    except RequestException as error:
        raise StoreUnavailable(detail=f"no answer: {type(error).__name__}") from None
    except ParseError:
        raise StoreUnavailable(detail="the answer is not as Google makes it") from None
