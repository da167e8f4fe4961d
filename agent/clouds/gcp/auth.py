"""The border to google-auth: its credentials refreshed over our session, its errors translated.

It is loaded by the first call. Every call runs in a thread and ends within `DEADLINE` seconds. No
result is kept here; the credentials are built by `builders`.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from agent.clouds.gcp.builders import Make
from agent.clouds.gcp.token import Token
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable
from agent.http_session import CONNECT_SECONDS, HttpSession, RequestException, Response
from agent.secret import Secret
from agent.threads import Threads

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.transport.requests import Request

T = TypeVar("T")

DEADLINE = 20.0
ANSWER_SECONDS = 8.0
"""For one question: a thread that nobody waits for any more must end soon, too."""
STS_URL = "https://sts.googleapis.com"
TOKENINFO_URL = "https://oauth2.googleapis.com"

_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a name
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a name
_KEPT_WITHOUT_END = timedelta(minutes=10)
"""A narrowed token ends with the one it came from; where nobody knows when, another is got soon."""
_CODE = re.compile(r"[A-Za-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class Google:
    """How Google is reached: with a private CA beside the usual ones, or at other addresses."""

    ca_file: Path | None = None
    sts_url: str = STS_URL
    tokeninfo_url: str = TOKENINFO_URL
    threads: Threads = field(default_factory=lambda: Threads("google", size=4), compare=False)

    async def token(self, make: Make) -> Token:
        """Return a token that the credentials of *make* are given now.

        Raises:
            AccessDenied: Google refused them.
            StoreUnavailable: It did not answer.
            CredentialUnavailable: They can't be built.
        """
        return await self._in_thread(lambda request: _refreshed(make, request))

    async def narrowed(self, token: Token, boundary: Mapping[str, Any]) -> Token:
        """Return *token* exchanged for one that may do no more than *boundary* says.

        Raises:
            AccessDenied, StoreUnavailable: As for `token`.
        """
        url = f"{self.sts_url}/v1/token"
        return await self._in_thread(lambda request: _exchanged(url, token, boundary, request))

    async def owner(self, token: Secret) -> tuple[str, datetime | None]:
        """Ask Google whose *token* is, and until when it is good.

        Raises:
            AccessDenied, StoreUnavailable: As for `token`.
        """
        url = f"{self.tokeninfo_url}/tokeninfo"
        answer = await self.asked(lambda session: session.post(url, {"access_token": _text(token)}))
        name = next((answer[key] for key in ("email", "sub", "azp", "aud") if answer.get(key)), "")
        left = str(answer.get("expires_in", ""))
        until = datetime.now(UTC) + timedelta(seconds=int(left)) if left.isdigit() else None
        return str(name) or "a token without a name", until

    async def asked(self, ask: Callable[[HttpSession], Response]) -> dict[str, Any]:
        """Return the JSON object that one of Google's APIs answers.

        Raises:
            AccessDenied: It said 4xx, but for 429.
            StoreUnavailable: It did not answer, or in another way.
        """

        def answer(session: HttpSession) -> dict[str, Any]:
            try:
                response = ask(session)
                body = response.json() if response.ok else response.text
            except RequestException as error:
                raise StoreUnavailable(detail=f"no answer: {type(error).__name__}") from None
            if response.status_code != 200 or not isinstance(body, dict):
                raise refusal(response.status_code, body, by=_host(response))
            return body

        return await self._with_session(answer)

    async def _in_thread(self, work: "Callable[[Request], T]") -> T:
        def call(session: HttpSession) -> T:
            with _translated(session) as request:
                return work(request)

        return await self._with_session(call)

    async def _with_session(self, work: Callable[[HttpSession], T]) -> T:
        try:
            async with asyncio.timeout(DEADLINE):
                return await self.threads.run(partial(self._called, work))
        except TimeoutError:
            detail = f"Google did not answer within {DEADLINE:.0f} s"
            raise StoreUnavailable(detail=detail) from None

    def _called(self, work: Callable[[HttpSession], T]) -> T:
        try:
            session = _Session(ca_file=self.ca_file)
        except OSError as error:
            detail = f"{self.ca_file}: {error.strerror or type(error).__name__}"
            raise CredentialUnavailable(detail=detail) from None
        with closing(session):
            return work(session)


class _Session(HttpSession):
    """Waits no longer than `ANSWER_SECONDS`; google-auth would wait for two minutes."""

    def send(self, request: Any, **kwargs: Any) -> Response:
        given = kwargs.get("timeout")
        if not isinstance(given, int | float) or given > ANSWER_SECONDS:
            kwargs["timeout"] = (CONNECT_SECONDS, ANSWER_SECONDS)
        return super().send(request, **kwargs)


def _refreshed(make: Make, request: "Request") -> Token:
    # The texts of these errors quote what could not be read.
    try:
        credentials, project = make(request)
    except (KeyError, TypeError, ValueError) as error:
        detail = f"the JSON of the login is not as Google makes it: {type(error).__name__}"
        raise CredentialUnavailable(detail=detail) from None
    try:
        credentials.refresh(request)
    except (OSError, ValueError) as error:
        detail = f"what the login needs could not be read: {type(error).__name__}"
        raise CredentialUnavailable(detail=detail) from None
    if not isinstance(credentials.token, str):
        raise StoreUnavailable(detail="Google answered without a token")
    expires_at = credentials.expiry and credentials.expiry.replace(tzinfo=UTC)
    return Token(Secret(credentials.token), expires_at, project, _principal(credentials))


def _principal(credentials: "Credentials") -> str | None:
    """Return the service account, or the pool of identities; no credentials name a person."""
    email = getattr(credentials, "service_account_email", None)
    if isinstance(email, str) and "@" in email:
        return email
    described = getattr(credentials, "info", None)
    audience = described.get("audience") if isinstance(described, dict) else None
    return audience if isinstance(audience, str) else None


def _exchanged(url: str, token: Token, boundary: Mapping[str, Any], request: "Request") -> Token:
    from google.oauth2.sts import Client

    now = datetime.now(UTC)
    answer = Client(url).exchange_token(
        request=request,
        grant_type=_TOKEN_EXCHANGE,
        subject_token=_text(token.secret),
        subject_token_type=_ACCESS_TOKEN,
        requested_token_type=_ACCESS_TOKEN,
        additional_options=boundary,
    )
    if not isinstance(answer.get("access_token"), str):
        raise StoreUnavailable(detail="Google's token exchange answered without a token")
    seconds = str(answer.get("expires_in") or "")
    if seconds.isdigit():
        end = now + timedelta(seconds=int(seconds))
    else:
        end = token.expires_at or now + _KEPT_WITHOUT_END
    return replace(token, secret=Secret(answer["access_token"]), expires_at=end, whole=token.secret)


def _text(token: Secret) -> str:
    return token.reveal()


@contextmanager
def _translated(session: HttpSession) -> "Iterator[Request]":
    """Yield a request for google-auth; its errors quote answers, so they end here."""
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
    from google.auth.transport.requests import Request

    answers: list[Response] = []
    session.hooks["response"].append(lambda response, **_: answers.append(response))
    try:
        yield Request(session)
    except TransportError as error:
        cause = type(error.__cause__ or error).__name__
        raise StoreUnavailable(detail=f"no answer from Google: {cause}") from None
    except DefaultCredentialsError:
        raise CredentialUnavailable(
            detail="no usable Google credentials in the environment, in files or at a metadata "
            "service"
        ) from None
    except GoogleAuthError as error:
        if not answers or answers[-1].ok:
            detail = f"the login to Google failed: {type(error).__name__}"
            raise CredentialUnavailable(detail=detail) from None
        last, body = answers[-1], error.args[-1] if error.args else ""
        raise refusal(last.status_code, body, by=_host(last)) from None


def refusal(status: int, body: object, *, by: str) -> AccessDenied | StoreUnavailable:
    """Return the error that an answer stands for, with Google's word for it from *body*."""
    detail = f"{by} answered {status} {_code(body)}".rstrip()
    if 400 <= status < 500 and status != 429:
        return AccessDenied(detail=detail)
    return StoreUnavailable(detail=detail)


def _host(response: Response) -> str:
    return urlsplit(response.url).netloc or "Google"


def _code(body: object) -> str:
    """Return Google's word for what is wrong; the texts beside it may quote what was sent."""
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return ""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        error = error.get("status")
    return error if isinstance(error, str) and _CODE.fullmatch(error) else ""
