"""Tokens by OAuth 2's client-credentials grant (RFC 6749, 4.4). Who uses them is not known here."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from agent.clouds.base import SecretSource
from agent.connectors.http import Issued, basic, bearer
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable
from agent.retrying import patiently
from agent.secret import Secret
from agent.secret_reference import SecretReference
from agent.threads import Threads

if TYPE_CHECKING:
    from agent.http_session import HttpSession, Response

ASSUMED_LIFE = timedelta(minutes=10)
"""Of a token whose issuer does not say how long it lives."""
LONGEST_LIFE = timedelta(days=30)
_TIMEOUT = (5.0, 10.0)
_MOST_BYTES = 256 * 1024
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Client:
    """A client as an authorization server knows it, and what it asks for."""

    token_url: str
    client_id: str
    client_secret: SecretReference
    scope: str | None = None
    audience: str | None = None
    ca_file: Path | None = None


class ClientCredentials:
    """Bearer tokens that an authorization server issues to a client with a secret.

    The secret goes into a header (``client_secret_basic``), never into a URL or form. Redirects are
    not followed.
    """

    def __init__(self, secrets: SecretSource, client: Client) -> None:
        self._secrets = secrets
        self._client = client
        self._threads = Threads("oauth", size=2)

    async def issue(self) -> Issued:
        """Ask for a token; a secret that is refused is resolved again once, as it may have been
        rotated."""
        try:
            try:
                return await self._asked()
            except AccessDenied:
                self.forget()
                return await self._asked()
        except (AccessDenied, StoreUnavailable) as refusal:
            detail = f"token_url {self._client.token_url} {refusal.detail}"
            raise CredentialUnavailable(detail=detail) from None

    def forget(self) -> None:
        self._secrets.invalidate(self._client.client_secret)

    async def _asked(self) -> Issued:
        resolved = await self._secrets.resolve_together([self._client.client_secret])
        asked = datetime.now(UTC)
        ask = partial(self._ask, resolved.secrets[0])
        answer = await patiently(lambda: self._threads.run(ask))
        token = Secret(_text(answer, "access_token"))
        header = bearer(self._secrets, token)
        _require_bearer(answer)
        return Issued(header, self._client.client_id, asked + _life(answer.get("expires_in")))

    def _ask(self, secret: Secret) -> dict[str, Any]:
        """Return the JSON object that the authorization server answers with; blocks."""
        from agent.http_session import RequestException, TransferError, why

        # RFC 6749 has both parts encoded as in a form before they are joined.
        encoded = Secret(quote_plus(secret.reveal()))
        self._secrets.register(encoded)
        header = basic(self._secrets, quote_plus(self._client.client_id), encoded)
        try:
            with (
                _session(self._client.ca_file) as session,
                session.post(
                    self._client.token_url,
                    data=_form(self._client),
                    headers={
                        "Authorization": header.reveal(),
                        "Accept": "application/json",
                        "Accept-Encoding": "identity",
                    },
                    stream=True,
                    timeout=_TIMEOUT,
                ) as response,
            ):
                return _object(response)
        except (RequestException, TransferError, OSError) as error:
            raise StoreUnavailable(detail=f"did not answer: {why(error)}") from None


def _session(ca_file: Path | None) -> "HttpSession":
    from agent.http_session import HttpSession

    try:
        return HttpSession(ca_file=ca_file, pool=1)
    except OSError as error:
        detail = f"{ca_file}: {error.strerror or type(error).__name__}"
        raise CredentialUnavailable(detail=detail) from None


def _form(client: Client) -> dict[str, str]:
    asked = {"scope": client.scope, "audience": client.audience}
    given = {key: value for key, value in asked.items() if value is not None}
    return {"grant_type": "client_credentials", **given}


def _object(response: "Response") -> dict[str, Any]:
    status = response.status_code
    body = response.raw.read(_MOST_BYTES, decode_content=False)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    answer: dict[str, Any] = found if isinstance(found, dict) else {}
    if status == 200 and answer:
        return answer
    if status in (400, 401, 403):
        raise AccessDenied(detail=f"answered {status} {_error_code(answer)}".strip())
    if 300 <= status < 400:
        # Trying again would not help, and another place must not get the secret.
        raise CredentialUnavailable(detail=f"token_url answered {status}: no redirect is followed")
    raise StoreUnavailable(detail=f"answered {status}, and no JSON object with a token")


def _error_code(answer: dict[str, Any]) -> str:
    """Return the standard's word for the error; the description beside it may quote anything."""
    code = answer.get("error")
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""


def _text(answer: dict[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not value:
        raise CredentialUnavailable(detail=f"token_url answered without {key}")
    return value


def _require_bearer(answer: dict[str, Any]) -> None:
    kind = answer.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise CredentialUnavailable(detail="token_url issued a token that is no bearer token")


def _life(expires_in: object) -> timedelta:
    try:
        seconds = float(expires_in)  # type: ignore[arg-type]  # some issuers write a string
    except (TypeError, ValueError):
        return ASSUMED_LIFE
    return min(timedelta(seconds=seconds), LONGEST_LIFE) if 0 < seconds < 1e9 else ASSUMED_LIFE
