"""Follows one job to its end over lost connections, and fetches its content; shows nothing."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import aiohttp

from agent.errors import Outcome, Unreachable
from control_plane_stub.client.api import Client, Interrupted, Rejected
from control_plane_stub.client.events import Event

TRIES = 8
"""So many failures to connect, one after the other, until we give up."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 3.0
BLOCK = 256 * 1024
ENDED = frozenset(Outcome)


class Sink(Protocol):
    """Where content goes, from its first byte to its last."""

    @property
    def received(self) -> int:
        """How many bytes have been written."""

    async def write(self, block: bytes) -> None: ...


async def job_events(client: Client, job: str) -> AsyncGenerator[Event]:
    """Yield each event of *job* once, the last one being ``result``.

    Raises:
        Unreachable: The control plane stayed away for too long.
    """
    last_id: str | None = None
    patience = _Patience()
    while True:
        try:
            async with aclosing(client.events(f"/jobs/{job}/events", last_id=last_id)) as events:
                async for event in events:
                    patience.restore()
                    last_id = event.id or last_id
                    yield event
                    if event.kind == "result":
                        return
        except Interrupted:
            patience.restore()
        except Unreachable as error:
            patience.spend(error)
        await patience.pause()


async def download(client: Client, job: str, sink: Sink) -> None:
    """Write the content of *job* into *sink* as it comes; ends early when the job does not succeed.

    A connection that breaks is opened again, and only what is missing is asked for. That this
    returned is no proof of wholeness: compare the trailer.

    Raises:
        Unreachable: The control plane stayed away for too long.
        Rejected: The job has no content to be read.
    """
    patience = _Patience()
    while True:
        before = sink.received
        try:
            await _read(client, job, sink)
        except Interrupted:
            if await _failed(client, job):
                return
        except Unreachable as error:
            patience.spend(error)
        except Rejected:
            if await _ended(client, job):
                return
            raise
        else:
            return
        if sink.received > before:
            patience.restore()
        await patience.pause()


class _Patience:
    """Counts failures in a row, and waits longer after each."""

    def __init__(self) -> None:
        self._failures = 0
        self._delay = FIRST_PAUSE

    def restore(self) -> None:
        self._failures = 0
        self._delay = FIRST_PAUSE

    def spend(self, error: Unreachable) -> None:
        """Count one failure; raise *error* when it is one too many."""
        self._failures += 1
        if self._failures >= TRIES:
            raise error

    async def pause(self) -> None:
        await asyncio.sleep(self._delay)
        self._delay = min(self._delay * 2, LONGEST_PAUSE)


async def _read(client: Client, job: str, sink: Sink) -> None:
    headers = {"Range": f"bytes={sink.received}-"} if sink.received else {}
    async with client.stream(f"/jobs/{job}/content", headers=headers) as response:
        # A server that does not honour the range begins anew; what we have already is skipped.
        skip = sink.received - _start(response)
        async for block in response.content.iter_chunked(BLOCK):
            if skip < len(block):
                await sink.write(block[skip:])
            skip = max(0, skip - len(block))


def _start(response: aiohttp.ClientResponse) -> int:
    content_range = response.headers.get("Content-Range", "")
    match = re.match(r"bytes (\d+)-", content_range) if response.status == 206 else None
    return int(match[1]) if match else 0


async def _state(client: Client, job: str) -> str | None:
    """Return the state of *job*; None when nobody answers just now."""
    try:
        record = await client.get(f"/jobs/{job}")
    except Unreachable:
        return None
    return str(record["state"])


async def _ended(client: Client, job: str) -> bool:
    return await _state(client, job) in ENDED


async def _failed(client: Client, job: str) -> bool:
    return await _state(client, job) in ENDED - {Outcome.SUCCEEDED}
