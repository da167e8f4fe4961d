"""Finds a connection that is no longer one. What is done about it belongs to the link."""

import asyncio
import time

from agent.errors import ProtocolError
from agent.link.channel import Channel
from agent.link.connection import LinkConnection
from agent.protocol.messages import Ping
from agent.telemetry import metrics


class Heartbeat:
    """Pings as messages of the protocol, one connection at a time.

    A message that drips in byte by byte holds up the pong behind it, so this bounds the time of
    every message too, which WebSocket pings would not.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._awaited = 0
        self._pong = asyncio.Event()

    async def beat(self, connection: LinkConnection, interval: float) -> None:
        """Send a ping, and the next one *interval* seconds after its pong. Until cancelled.

        Raises:
            ProtocolError: A pong is two intervals late; the connection is cut.
        """
        self._awaited = 0
        while True:
            self._awaited += 1
            self._pong.clear()
            sent = time.monotonic()
            self._channel.say(Ping(n=self._awaited))
            try:
                async with asyncio.timeout(2 * interval):
                    await self._pong.wait()
            except TimeoutError:
                connection.transport.abort()
                drips = connection.bytes_since_message > 0
                why = "a message took too long to arrive" if drips else "no answer to the heartbeat"
                raise ProtocolError(why, reason="heartbeat_lost") from None
            metrics.link_round_trip.observe(time.monotonic() - sent)
            await asyncio.sleep(interval)

    def answered(self, n: int) -> None:
        """Take in a pong; one that is not awaited says nothing."""
        if n == self._awaited:
            self._pong.set()
