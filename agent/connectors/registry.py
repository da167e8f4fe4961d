"""Asks a registry of container images whether it lets somebody in. Blocks.

A registry answers the first question with a challenge: to log in at itself, or to fetch a token at
a place that it names.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable
from agent.secret import Secret

if TYPE_CHECKING:
    from agent.http_session import HttpSession

_DOCKER_HUB = "https://registry-1.docker.io"
_NAMES_OF_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_MOST_BYTES = 256 * 1024
_TIMEOUT = (5.0, 5.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the registry, or the place it gets tokens from, said; *headers* has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Registry:
    """The registry at *address*, a host or an https:// URL of it.

    *register* hears of a token before it is used. The login is sent to the registry, or to the
    place that it names for tokens, when that is reached by TLS or is on this machine.
    """

    def __init__(
        self, address: str, ca_file: Path | None, register: Callable[[Secret], None]
    ) -> None:
        self._root = _root(address)
        self._ca_file = ca_file
        self._register = register

    def require_good(self, username: str, basic: Secret) -> None:
        """Log in with *basic*, the value of the header.

        Raises:
            AccessDenied: The registry does not let *username* in.
            CredentialUnavailable: It can't be known, or the login may not be sent there.
            StoreUnavailable: It does not answer.
        """
        from agent.http_session import RequestException, TransferError, why

        try:
            with self._session() as session:
                self._require_good(session, username, basic)
        except (RequestException, TransferError, OSError) as error:
            detail = f"the registry did not answer: {why(error)}"
            raise StoreUnavailable(detail=detail) from None

    def _require_good(self, session: "HttpSession", username: str, basic: Secret) -> None:
        first = _asked(session, f"{self._root}/v2/")
        challenge = first.headers.get("www-authenticate", "")
        if first.status == 200:
            detail = "the registry lets anybody in, so that it can't tell whether the login is good"
            raise CredentialUnavailable(detail=detail)
        if first.status != 401 or not challenge:
            raise _unexpected("the registry", first.status)
        header = basic
        if challenge.lower().startswith("bearer "):
            header = self._token(session, dict(_PARAMETER.findall(challenge)), username, basic)
        last = _asked(session, f"{self._root}/v2/", header)
        if last.status != 200:
            raise _unexpected("the registry", last.status)

    def _token(
        self, session: "HttpSession", challenge: Mapping[str, str], username: str, basic: Secret
    ) -> Secret:
        realm = urlsplit(challenge.get("realm", ""))
        if realm.scheme != "https" and realm.hostname not in _LOOPBACK:
            detail = "the registry sends the login to a place without TLS, which the agent refuses"
            raise CredentialUnavailable(detail=detail)
        wanted = {"service": challenge.get("service", ""), "account": username}
        answer = _asked(session, realm.geturl(), basic, wanted)
        if answer.status != 200:
            raise _unexpected("the registry's token service", answer.status)
        token = _token_in(answer.body)
        self._register(token)
        return Secret(f"Bearer {token.reveal()}")

    def _session(self) -> "HttpSession":
        from agent.http_session import HttpSession

        try:
            return HttpSession(ca_file=self._ca_file, pool=2)
        except OSError as error:
            detail = f"{self._ca_file}: {error.strerror or type(error).__name__}"
            raise CredentialUnavailable(detail=detail) from None


def host_of(address: str) -> str:
    """Return the host of a registry, with its port, as images name it."""
    host = urlsplit(address).netloc if "://" in address else address.partition("/")[0]
    return "docker.io" if host in _NAMES_OF_DOCKER_HUB else host


def _root(address: str) -> str:
    host = host_of(address)
    if host == "docker.io":
        return _DOCKER_HUB
    scheme = urlsplit(address).scheme if "://" in address else "https"
    return f"{scheme}://{host}"


def _asked(
    session: "HttpSession",
    url: str,
    header: Secret | None = None,
    parameters: Mapping[str, str] | None = None,
) -> Answer:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if header is not None:
        headers["Authorization"] = header.reveal()
    with session.get(
        url, headers=headers, params=parameters, stream=True, timeout=_TIMEOUT
    ) as response:
        body = response.raw.read(_MOST_BYTES, decode_content=False)
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, found, body)


def _token_in(body: bytes) -> Secret:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    found = answer if isinstance(answer, dict) else {}
    token = found.get("token") or found.get("access_token")
    if not isinstance(token, str) or not token.isprintable():
        raise StoreUnavailable(detail="the registry's token service answered without a token")
    return Secret(token)


def _unexpected(who: str, status: int) -> AccessDenied | StoreUnavailable:
    if status in (401, 403):
        return AccessDenied(detail=f"{who} answered {status}")
    return StoreUnavailable(detail=f"{who} answered {status}")
