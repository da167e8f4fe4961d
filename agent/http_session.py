"""The one way to speak HTTP with `requests`, for SDKs and for services without one.

What is asked and what answers mean is not known here.
"""

import ssl
from collections.abc import Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from threading import Lock
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from agent.errors import StoreUnavailable

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
"""For one piece of an answer; a slow reader's own time does not count."""

RequestException = requests.RequestException
SSLError = requests.exceptions.SSLError
Response = requests.Response
TransferError = urllib3.exceptions.HTTPError
"""What reading from `Response.raw` raises."""


class HttpSession(requests.Session):
    """A session that does what it is told and nothing else. Safe for concurrent threads.

    It follows no redirect, keeps no cookie, takes proxies from the environment, but neither
    passwords from a .netrc nor, as ``requests`` does, a CA from REQUESTS_CA_BUNDLE in place of the
    one it was given. With *only_ca_file* it trusts no other. Shows *certificate*, a certificate's
    file and its key's, to a server that asks for one. Keeps up to *pool* connections open to each
    host.

    Raises:
        OSError: A file can't be read, or is not what it should be.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        only_ca_file: bool = False,
        certificate: tuple[Path, Path] | None = None,
        pool: int = 16,
    ) -> None:
        super().__init__()
        self.trust_env = False
        # A cookie may be a login, and would outlive the credentials that it was given for.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if ca_file is not None and only_ca_file:
            # What is named here is trusted in place of the CAs that ``requests`` brings along.
            self.verify = str(ca_file)
        context = ssl.create_default_context(cafile=ca_file if only_ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if ca_file is not None:
            context.load_verify_locations(ca_file)
        if certificate is not None:
            # Without a passphrase of ours, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(*certificate, password="")
        self.mount("https://", _Adapter(context, pool))
        self.mount("http://", _Adapter(context, pool))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Answer that there is none, so that a 3xx is an answer like any other."""

    def merge_environment_settings(
        self,
        url: str | bytes | None,
        proxies: Any,
        stream: bool | None,
        verify: Any,
        cert: Any,
    ) -> Any:
        """Add the proxies of the environment, and nothing more of it."""
        found: Mapping[str, str] = get_environ_proxies(str(url))
        merged = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {**merged, "proxies": {**found, **merged["proxies"]}}

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send with bounds of time, where the caller gives none."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = (CONNECT_SECONDS, READ_SECONDS)
        return super().send(request, **kwargs)


class KeptSession:
    """One `HttpSession` for all who ask, made by the first. Safe for concurrent threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._session: HttpSession | None = None

    def get(self, ca_file: Path | None) -> HttpSession:
        """Return the session; *ca_file* counts when it is made.

        Raises:
            StoreUnavailable: The file can't be read, or is not what it should be.
        """
        with self._lock:
            if self._session is None:
                try:
                    self._session = HttpSession(ca_file=ca_file)
                except OSError as error:
                    detail = f"{ca_file}: {error.strerror or type(error).__name__}"
                    raise StoreUnavailable(detail=detail) from None
            return self._session

    def close(self) -> None:
        """Close connections that nobody uses; idempotent."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()


class _Adapter(HTTPAdapter):
    def __init__(self, context: ssl.SSLContext, pool: int) -> None:
        self._context = context
        super().__init__(pool_connections=pool, pool_maxsize=pool)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)


def why(error: BaseException) -> str:
    """Say why there was no answer: the innermost cause, without the URL and the headers that the
    texts around it may quote."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    name = type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{name}: {error.verify_message}"
    return f"{name}: {error.strerror}" if isinstance(error, OSError) and error.strerror else name


def cut_off(answer: Response) -> None:
    """End *answer* at once, also while another thread reads it; idempotent."""
    raw = answer.raw
    connection = raw.connection
    # A read that waits in another thread holds the lock that `close` needs: it must end first.
    with suppress(AttributeError, RuntimeError, ValueError, OSError):
        raw.shutdown()
    answer.close()
    if connection is not None:
        # That read may have found the answer closed, and put the connection by for the next.
        connection.close()
