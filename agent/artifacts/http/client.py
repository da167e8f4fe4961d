"""Asks one HTTP service in threads of a store's own, with the header of a connector.

What is asked and what answers mean is not known here.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event, Lock
from typing import TYPE_CHECKING, TypeVar

from agent.artifacts.asking import ask
from agent.artifacts.http.errors import translated
from agent.connectors.base import Connector
from agent.credentials import HttpCredentials
from agent.errors import StoreUnavailable, Unsupported
from agent.retrying import TRIES
from agent.threads import Threads

if TYPE_CHECKING:
    from agent.http_session import HttpSession, Response

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""Until the headers, and for each piece behind them; a slow reader's own time does not count."""

T = TypeVar("T")


class Service:
    """The service as one set of credentials sees it. Every call blocks."""

    def __init__(self, session: "HttpSession", credentials: HttpCredentials) -> None:
        self.anonymous = credentials.authorization is None
        self.endpoint_url = (credentials.endpoint_url or "").rstrip("/")
        self._session = session
        self._credentials = credentials

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> "Response":
        """Return the answer, whatever its status, with a body that was not read yet.

        The caller closes it. Redirects are not followed.
        """
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        if (authorization := self._credentials.authorization) is not None:
            sent["Authorization"] = authorization.reveal()
        return self._session.get(
            url,
            headers=sent,
            params=params,
            stream=True,
            timeout=(CONNECT_SECONDS, answer_seconds),
        )


class HttpClient:
    """Asks with the credentials of *connector*; *store* is the store's name, for logs.

    Connections are kept, and shared by all who ask.
    """

    def __init__(self, store: str, connector: Connector[HttpCredentials]) -> None:
        self.threads = Threads(f"artifacts.{store}")
        self._store = store
        self._connector = connector
        self._lock = Lock()
        self._session: HttpSession | None = None

    async def ask(
        self,
        request: Callable[[Service], T],
        *,
        unwanted: Callable[[T], None] | None = None,
        tries: int = TRIES,
    ) -> T:
        """Return what *request* returns, which blocks.

        *unwanted* gets that when the caller was cancelled before; it has to be idempotent.

        Raises:
            AccessDenied, CredentialUnavailable, StoreUnavailable: As `asking.ask` says. Besides,
                whatever *request* raises.
        """

        async def once(credentials: HttpCredentials) -> T:
            given_up = Event()

            def answered() -> T:
                if given_up.is_set():
                    # It was still waiting for a thread, and would keep one from the others.
                    raise StoreUnavailable(detail="nobody waits for it any more")
                answer = self._answer(request, credentials)
                # The loop may be gone before it hears of an answer that nobody waits for.
                if unwanted is not None and given_up.is_set():
                    unwanted(answer)
                return answer

            answer = self.threads.start(answered)
            try:
                return await asyncio.shield(answer)
            except asyncio.CancelledError:
                given_up.set()
                answer.add_done_callback(partial(_give_up, unwanted))
                raise

        return await ask(self._connector, once, store=self._store, tries=tries)

    def close(self) -> None:
        """Close connections that no transfer uses; idempotent."""
        self.threads.close()
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _answer(self, request: Callable[[Service], T], credentials: HttpCredentials) -> T:
        with translated():
            return request(Service(self._session_for(credentials), credentials))

    def _session_for(self, credentials: HttpCredentials) -> "HttpSession":
        from agent.http_session import HttpSession

        with self._lock:
            if self._session is None:
                try:
                    self._session = HttpSession(ca_file=credentials.ca_file)
                except OSError as error:
                    detail = f"{credentials.ca_file}: {error.strerror or type(error).__name__}"
                    raise StoreUnavailable(detail=detail) from None
            return self._session


def read_all(response: "Response", *, most: int) -> bytes:
    """Return the body of *response*, which is closed.

    Raises:
        Unsupported: It has more than *most* bytes, or is encoded.
    """
    with response:
        require_plain(response)
        body: bytes = response.raw.read(most + 1, decode_content=False)
    if len(body) > most:
        raise Unsupported(f"the server's answer has more than {most} bytes")
    return body


def require_plain(response: "Response") -> None:
    """Refuse a body that is not sent as it is: no byte of it could be found by its position.

    Raises:
        Unsupported: It is encoded, though that was not asked for.
    """
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise Unsupported("the server encodes what it sends, although asked not to")


def _give_up(unwanted: Callable[[T], None] | None, answer: "asyncio.Future[T]") -> None:
    if not answer.cancelled() and answer.exception() is None and unwanted is not None:
        unwanted(answer.result())
