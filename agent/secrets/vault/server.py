"""The border to hvac:

one question to Vault in a bounded thread, its errors made ours. No token is kept here.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from agent.errors import CredentialUnavailable
from agent.secret import Secret
from agent.secrets.vault.answers import Answer
from agent.secrets.vault.connections import Connections

if TYPE_CHECKING:
    from hvac import Client

    from agent.http_session import HttpSession

_THREADS = 4
_TIMEOUT = (3.0, 4.0)
"""Seconds to connect and to wait for a piece of the answer."""

Question = Callable[["Client"], Any]


class VaultDown(CredentialUnavailable):
    """Vault did not answer, is sealed, or failed inside; trying again may help."""


class VaultRefused(CredentialUnavailable):
    """Vault took the question for a wrong one, as it does with a login that it does not know."""


class VaultDenied(VaultRefused):
    """Vault refused: the token is not valid any more, or its policy does not allow this."""


class VaultServer:
    """Asks one Vault, in a few threads of its own so that a slow Vault holds up nothing else."""

    def __init__(self, address: str, *, ca_file: Path | None, namespace: str | None) -> None:
        self.address = address.rstrip("/")
        self._connections = Connections(ca_file)
        self._namespace = namespace
        self._closed = False
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="vault")

    async def ask(self, question: Question, token: Secret | None = None) -> Answer:
        """Return the JSON object that Vault answers *question* with; one try.

        Raises:
            VaultDown: It may answer later.
            VaultDenied: It answered 401 or 403.
            VaultRefused: It answered 400.
            CredentialUnavailable: It has nothing there, or the connection or the question is wrong.
        """
        if self._closed:
            raise CredentialUnavailable(detail="the secret store was closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._ask, question, token)

    def show_certificate(self, cert_file: Path, key_file: Path) -> None:
        """Show the certificate that stands in these files from the next question on."""
        self._connections.show(cert_file, key_file)

    def close(self) -> None:
        """Take no more questions; does not wait for those under way. Idempotent."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    def _ask(self, question: Question, token: Secret | None) -> Answer:
        from agent.http_session import SSLError

        session = self._connections.session()
        with _translated(self.address):
            try:
                answer = question(self._client(session, token))
            except SSLError:
                self._connections.drop(session)
                raise
        if isinstance(answer, dict):
            return answer
        status = getattr(answer, "status_code", None)
        if status == 204:
            return {}
        raise CredentialUnavailable(
            detail=f"{self.address} answered {status} instead of JSON{_REDIRECTED}"
        )

    def _client(self, session: "HttpSession", token: Secret | None) -> "Client":
        from hvac import Client

        # An empty token keeps hvac from looking for one in the environment and the home directory.
        # A redirect is not followed, since requests would send the token on to any other host.
        return Client(
            url=self.address,
            token=token.reveal() if token else "",
            session=session,
            timeout=_TIMEOUT,  # type: ignore[arg-type]  # handed on to requests, which takes a pair
            allow_redirects=False,
            namespace=self._namespace,
        )


_CERT = "log in with auth.method cert, or set address to a listener that wants none"
_REDIRECTED = "; where that is a redirect, set address to the server that it leads to"


def api_path(*parts: str) -> str:
    """Return the URL path of *parts*, each of which may have several segments.

    Raises:
        CredentialUnavailable: A segment is empty, ``.`` or ``..``.
    """
    segments = [segment for part in parts for segment in part.strip("/").split("/")]
    if not {"", ".", ".."}.isdisjoint(segments):
        raise CredentialUnavailable(detail=f"{'/'.join(parts)!r} is not a path in Vault")
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


@contextmanager
def _translated(address: str) -> Iterator[None]:
    # Every cause is cut off: requests keeps the headers of the request, with the token, in its
    # errors.
    from hvac import exceptions as vault

    from agent.http_session import RequestException, SSLError

    try:
        yield
    except (vault.Forbidden, vault.Unauthorized) as error:
        raise VaultDenied(detail=f"{error.url} refused: {_said(error)}") from None
    except vault.InvalidPath as error:
        raise CredentialUnavailable(detail=f"there is nothing at {error.url}") from None
    except vault.InvalidRequest as error:
        raise VaultRefused(detail=f"{error.url} refused: {_said(error)}") from None
    except vault.VaultError as error:
        raise VaultDown(detail=f"{address} failed: {_said(error)}") from None
    except SSLError as error:
        raise _tls_failure(address, str(error)) from None
    except RequestException as error:
        raise VaultDown(detail=f"{address} did not answer: {type(error).__name__}") from None


def _said(error: Any) -> str:
    return "; ".join(map(str, error.errors or [type(error).__name__]))[:300]


def _tls_failure(address: str, text: str) -> CredentialUnavailable:
    if "CERTIFICATE_REQUIRED" in text:
        return CredentialUnavailable(detail=f"{address} wants a client certificate: {_CERT}")
    if "ALERT_UNKNOWN_CA" in text or "ALERT_BAD_CERTIFICATE" in text:
        return CredentialUnavailable(detail=f"{address} does not accept our client certificate")
    if "CERTIFICATE_VERIFY_FAILED" not in text:
        return VaultDown(detail=f"{address}: the TLS handshake failed")
    why = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
    advice = "set ca_file to the CA that issued it"
    return CredentialUnavailable(detail=f"{address}: untrusted certificate ({why}); {advice}")
