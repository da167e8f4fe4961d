"""Appends to files in one thread, many pieces per hop. What the files mean belongs elsewhere."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeAlias

Outcome: TypeAlias = OSError | str | None
Done: TypeAlias = Callable[[Outcome], None]


class Sink(Protocol):
    """Where pieces go; both methods are called in the writer's thread only, in order."""

    def take(self, piece: bytes | memoryview) -> None:
        """Store *piece* behind the others.

        Raises:
            OSError: It could not be stored; what the sink holds is of no use any more.
        """

    def finish(self) -> str:
        """Store nothing more; return the hex SHA-256 of everything. Idempotent."""


class Digest:
    """A sink that only hashes."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def take(self, piece: bytes | memoryview) -> None:
        self._sha256.update(piece)

    def finish(self) -> str:
        return self._sha256.hexdigest()


class AppendedFile:
    """A sink that appends to one file, and hashes; the file is opened with the first piece."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._sha256 = hashlib.sha256()
        self._seen_old = False
        self._discarded = False

    def take(self, piece: bytes | memoryview) -> None:
        if self._discarded:
            return
        if self._descriptor is None:
            self._hash_what_is_there()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._sha256.update(piece)

    def finish(self) -> str:
        self._hash_what_is_there()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        return self._sha256.hexdigest()

    def discard(self) -> None:
        """Close and remove the file, and take nothing more; in the writer's thread as well."""
        self._discarded = True
        self.finish()
        self._path.unlink(missing_ok=True)

    def _hash_what_is_there(self) -> None:
        """A restart left a part of the file to us."""
        if self._seen_old:
            return
        self._seen_old = True
        if self._path.exists():
            with self._path.open("rb") as file:
                while piece := file.read(1024 * 1024):
                    self._sha256.update(piece)


class Writer:
    """Feeds sinks in the order of the calls, in one thread, and reports back on the loop.

    While the thread works, what comes in meanwhile is collected for its next turn: no timers, and
    large turns under load. Memory is bounded by the senders' windows.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._waiting: list[tuple[Sink, bytes | memoryview | None, Done]] = []
        self._busy = False

    def append(self, sink: Sink, piece: bytes | memoryview, done: Done) -> None:
        """Store *piece*; *done* is called with None, or with the error."""
        self._queue(sink, piece, done)

    def finish(self, sink: Sink, done: Done) -> None:
        """Close *sink* behind its pieces; *done* is called with its SHA-256, or with the error."""
        self._queue(sink, None, done)

    def discard(self, sink: AppendedFile) -> None:
        """Remove the file of *sink* behind its pieces."""
        self._executor.submit(sink.discard)

    async def close(self) -> None:
        """Store what was queued, then end the thread."""
        while self._busy or self._waiting:
            await asyncio.wrap_future(self._executor.submit(_nothing))
        self._executor.shutdown()

    def _queue(self, sink: Sink, piece: bytes | memoryview | None, done: Done) -> None:
        self._waiting.append((sink, piece, done))
        if not self._busy:
            self._busy = True
            # One turn of the loop later: by then the rest of this read has come in too.
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        self._loop.run_in_executor(self._executor, _write, batch).add_done_callback(self._written)

    def _written(self, turn: asyncio.Future[list[tuple[Done, Outcome]]]) -> None:
        if self._waiting:
            self._start()
        else:
            self._busy = False
        for done, outcome in turn.result():
            done(outcome)


def _write(
    batch: list[tuple[Sink, bytes | memoryview | None, Done]],
) -> list[tuple[Done, Outcome]]:
    return [(done, _outcome(sink, piece)) for sink, piece, done in batch]


def _outcome(sink: Sink, piece: bytes | memoryview | None) -> Outcome:
    try:
        if piece is None:
            return sink.finish()
        sink.take(piece)
    except OSError as exc:
        return exc
    return None


def _nothing() -> None:
    """A turn of the thread that comes after all turns before it."""
