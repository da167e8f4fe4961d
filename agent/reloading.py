"""Reading a changed configuration: validated first, swapped whole, the old one kept when it is
wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.config.load import Loaded
from agent.config.settings import Settings
from agent.errors import UsageError
from agent.telemetry import metrics
from agent.telemetry.logs import get_logger

LOOK_EVERY = 5.0
FIXED = ("control_plane", "agent.name", "agent.state_dir", "telemetry.listen", "audit")
"""Settings that are read at the start only."""

log = get_logger()


class Reloading:
    """Re-reads the configuration on `ask` and when its file has changed."""

    def __init__(
        self,
        path: Path | None,
        load: Callable[[], Loaded],
        *,
        apply: Callable[[Settings], None],
        tidy: Callable[[], Awaitable[None]],
    ) -> None:
        self._path = path
        self._load = load
        self._apply = apply
        self._tidy = tidy
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have it read again now, as on SIGHUP; never waits."""
        self._asked.set()

    async def run(self, settings: Settings) -> None:
        """Watch until cancelled; *settings* are those in force. Has `tidy` called now and then.

        The file is looked at every few seconds instead of being watched: that works on every file
        system, and for a Kubernetes ConfigMap, where a link two levels up is what changes.
        """
        seen = self._stamp()
        while True:
            asked = await self._asked_within(LOOK_EVERY)
            if asked or self._stamp() != seen:
                seen = self._stamp()
                settings = self._reload(settings)
            await self._tidy()

    async def _asked_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    def _reload(self, old: Settings) -> Settings:
        try:
            new = self._load().settings
            if new == old:
                metrics.config_reloads.labels("unchanged").inc()
                return old
            self._apply(new)
        except UsageError as exc:
            metrics.config_reloads.labels("rejected").inc()
            log.error("config.rejected", why=str(exc))  # noqa: TRY400 - the text says it all
            return old
        except Exception as exc:
            # A bug, of ours or of a plug-in; the jobs of the old configuration are not to blame.
            metrics.config_reloads.labels("rejected").inc()
            log.exception("config.rejected", why=f"unexpected {type(exc).__name__}")
            return old
        waiting = [key for key in FIXED if _at(new, key) != _at(old, key)]
        if waiting:
            log.warning("config.needs_restart", keys=waiting)
        metrics.config_reloads.labels("applied").inc()
        log.info("config.applied")
        return new

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _at(settings: Settings, key: str) -> object:
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value
