"""The upload lane: whether it is open now, and who may use it. One upload is `upload`'s part."""

from collections.abc import Callable
from urllib.parse import urlsplit

from agent.identity import Identity
from agent.link.backoff import Backoff
from agent.link.dial import Endpoint
from agent.link.pool import Pool
from agent.link.supply import Supply
from agent.link.upload import Target, Upload
from agent.link.window import Window
from agent.protocol.messages import UploadOffer
from agent.protocol.upload import upload_url

AT_ONCE = 16
"""Each takes a thread and a connection; what comes beside them goes in blocks."""


class Uploads:
    """Begins uploads where the control plane offers that and the configuration allows it.

    *upload_from* is the smallest content that goes this way, None for none at all. *segment_bytes*
    says how long a segment may be that begins now; an upload holds two of them.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        *,
        version: str,
        upload_from: int | None,
        segment_bytes: Callable[[], int],
        backoff: Callable[[], Backoff],
    ) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._version = version
        self._upload_from = upload_from
        self._segment_bytes = segment_bytes
        self._backoff = backoff
        self._pool = Pool(endpoint, version=version)
        self._offer: UploadOffer | None = None
        self._running: set[str] = set()

    def __repr__(self) -> str:
        return f"<Uploads {'open' if self._offer else 'closed'} running={len(self._running)}>"

    @property
    def enabled(self) -> bool:
        """Whether anything may ever go this way."""
        return self._upload_from is not None

    def welcome(self, offer: UploadOffer | None) -> None:
        """A welcome has come, with this offer or none; for contents that begin from now on."""
        self._offer = offer

    def begin(self, job: str, *, offset: int, size: int) -> Supply | None:
        """Begin to upload what *job* has from *offset* on; None when it has to go in blocks.

        Every upload has to be told of its `end`.
        """
        offer = self._offer
        if offer is None or self._upload_from is None or len(self._running) >= AT_ONCE:
            return None
        if size - offset < max(offer.min_bytes, self._upload_from, 1):
            return None
        longest = offer.segment_bytes
        window = Window(offset=offset, size=size)
        supply = Supply(window, lambda: min(self._segment_bytes(), longest))
        upload = Upload(supply, self._target(offer, job), self._pool, backoff=self._backoff())
        self._running.add(job)
        upload.start(f"upload.{job}")
        return supply

    def end(self, job: str, *, close_lane: bool = False) -> None:
        """The upload of *job* is over; *close_lane* until the next welcome."""
        self._running.discard(job)
        if close_lane:
            self._offer = None

    def close(self) -> None:
        """Close idle connections; uploads end with their jobs."""
        self._pool.close()

    def _target(self, offer: UploadOffer, job: str) -> Target:
        url = upload_url(self._endpoint.url, offer.path, job)
        parts = urlsplit(url)
        return Target(url, parts.netloc, parts.path, self._identity, self._version)
