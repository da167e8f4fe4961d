"""Uploading the content of one job, in a thread: segment by segment, across broken connections.

Which contents go this way is decided in `uploads`; where their bytes wait is `supply`.
"""

import secrets
import threading
import time
from collections import deque
from contextvars import copy_context
from dataclasses import dataclass

from agent.errors import AgentError, JobError, UsageError
from agent.identity import Identity
from agent.link.backoff import Backoff
from agent.link.dial import DialFailed
from agent.link.http import Broken, HttpConnection
from agent.link.pool import Pool
from agent.link.supply import UNDER_WAY, Aborted, Supply
from agent.link.window import OutOfWindow
from agent.protocol.upload import Answer, Segment, Verdict, understand
from agent.telemetry.logs import get_logger

FRUITLESS = 8
"""Attempts in a row without a byte that came into safe hands."""

log = get_logger()


class UploadFailed(AgentError):
    """The rest of the content has to go another way; *for_good*: that of others, too."""

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


class _Interrupted(Exception):
    """The request has to be made again, not before *retry_after* seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Target:
    """Where one content goes, and as whom; *url* is what proofs are made out to."""

    url: str
    host: str
    path: str
    identity: Identity
    version: str

    def head(self, segment: Segment) -> bytes:
        """Return the head of the request for *segment*, with a proof of its own."""
        proof = self.identity.proof(self.url, now=time.time(), nonce=secrets.token_urlsafe(16))
        lines = (
            f"PUT {self.path} HTTP/1.1",
            f"Host: {self.host}",
            f"Authorization: Bearer {proof}",
            f"User-Agent: cloud-agent/{self.version}",
            "Content-Type: application/octet-stream",
            f"Content-Length: {segment.stop - segment.first}",
            f"Content-Range: {segment.content_range()}",
            "\r\n",
        )
        return "\r\n".join(lines).encode("ascii")


class Upload:
    """Sends what is given to *supply*; what is not in safe hands is sent again, if need be.

    The side of the event loop raises `UploadFailed` when that can't be done, and JobError when
    nobody takes the content any more.
    """

    def __init__(self, supply: Supply, target: Target, pool: Pool, *, backoff: Backoff) -> None:
        self._supply = supply
        self._target = target
        self._pool = pool
        self._backoff = backoff

    def start(self, name: str) -> None:
        """Begin. The thread ends with the upload, or soon after `Supply.abort`."""
        context = copy_context()  # It names the job in the log.
        threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._send_all()
        except Aborted:
            return
        except (UploadFailed, JobError) as exc:
            self._fail(exc)
        except Exception:
            log.exception("upload.broken")
            self._fail(UploadFailed("a bug, see above", for_good=True))

    def _fail(self, why: Exception) -> None:
        try:
            self._supply.fail(why)
        except Aborted:
            return

    def _send_all(self) -> None:
        """Send until all is in safe hands, over as many connections as that takes."""
        fruitless, asks = 0, False
        while True:
            safe = self._supply.safe
            try:
                self._attempt(asks=asks)
            except _Interrupted as exc:
                fruitless = 0 if self._supply.safe > safe else fruitless + 1
                if fruitless > FRUITLESS:
                    raise UploadFailed(str(exc)) from None
                log.info("upload.interrupted", offset=self._supply.safe, why=str(exc))
                self._supply.pause(self._delay(fruitless, exc.retry_after))
                asks = True
            else:
                return

    def _attempt(self, *, asks: bool) -> None:
        try:
            with self._pool.lend() as connection:
                self._supply.hold(connection)
                try:
                    if asks:
                        self._ask(connection)
                    self._converse(connection)
                finally:
                    self._supply.hold(None)
        except (Broken, DialFailed) as exc:
            raise _Interrupted(str(exc)) from None
        except UsageError as exc:
            raise UploadFailed(str(exc), for_good=True) from None
        except OutOfWindow:
            raise UploadFailed("the control plane names bytes that it was not sent") from None

    def _delay(self, fruitless: int, retry_after: float | None) -> float:
        """Return how long to wait; not at all after a connection that broke in the middle."""
        if not fruitless and not retry_after:
            return 0.0
        lasted = 0.0 if fruitless else self._backoff.stable_after
        return self._backoff.delay(lasted=lasted, retry_after=retry_after)

    def _ask(self, connection: HttpConnection) -> None:
        """Ask where to go on, and go there."""
        connection.send(self._target.head(Segment(0, 0, self._supply.size)))
        answer = self._answer(connection)
        if answer.offset < self._supply.safe:
            raise JobError("the control plane lost content that it had in safe hands")
        self._supply.go_back(answer.offset)

    def _converse(self, connection: HttpConnection) -> None:
        """Send segments until all is in safe hands."""
        under_way: deque[Segment] = deque()
        while True:
            segment = self._supply.next_segment(wait=not under_way)
            if segment is not None:
                self._send(connection, segment)
                under_way.append(segment)
            elif not under_way:
                return
            if segment is None or len(under_way) == UNDER_WAY:
                self._take_answer(connection, under_way.popleft())

    def _take_answer(self, connection: HttpConnection, segment: Segment) -> None:
        offset = self._answer(connection).offset
        if offset < segment.stop:
            raise _Interrupted("the control plane took a part of a segment")
        if offset > segment.stop:
            raise UploadFailed("the control plane names bytes that it was not sent")
        self._supply.acknowledged(offset)

    def _send(self, connection: HttpConnection, segment: Segment) -> None:
        connection.send(self._target.head(segment))
        position = segment.first
        while position < segment.stop:
            piece = self._supply.next_piece(segment.stop - position)
            connection.send(piece)
            position += len(piece)

    def _answer(self, connection: HttpConnection) -> Answer:
        """Return the next answer, which is one that something was taken.

        Raises:
            _Interrupted: The request has to be made again.
            UploadFailed, JobError: It need not be.
        """
        status, headers, body = connection.answer()
        answer = understand(status, body, retry_after=headers.get("Retry-After"))
        match answer.verdict:
            case Verdict.TAKEN:
                return answer
            case Verdict.UNWANTED:
                raise JobError("the control plane does not take this content any more")
            case Verdict.BLOCKS:
                raise UploadFailed(f"the control plane answered {status}", for_good=True)
            case Verdict.OUT_OF_STEP | Verdict.LATER:
                raise _Interrupted(f"the control plane answered {status}", answer.retry_after)
