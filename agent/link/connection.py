"""A WebSocket connection that counts its bytes and gives up on a peer that floods it with control
frames."""

import asyncio
import socket
import time
from collections.abc import Sequence

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

from agent.telemetry import metrics

CONTROL_FRAMES_PER_SECOND = 20
CONTROL_FRAMES_BURST = 200
UNSENT_BYTES = 128 * 1024
"""What the kernel takes beyond what the network carries. With megabytes of it, a heartbeat on a
slow line would wait behind them for longer than the control plane's patience and ours."""


class LinkConnection(ClientConnection):
    """`flooded` becomes true, and the transport is cut, when pings and pongs come faster than
    allowed.

    Our own heartbeat are text messages, so a well-behaved peer sends hardly any control frames at
    all.
    """

    flooded = False
    bytes_since_message = 0
    """Bytes of messages since the last whole one; tells a dripping peer from a silent one."""
    _allowance = float(CONTROL_FRAMES_BURST)
    _counted_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    async def send_all(self, frames: Sequence[str | bytes]) -> None:
        """Send messages in order, with one write and one wait for the network for all of them.

        A small job is four frames, and `send` is a write and a chain of context managers for each.

        Raises:
            ConnectionClosed: As `send` does.
        """
        if len(frames) == 1 or self.protocol.state is not State.OPEN:
            for frame in frames:
                await self.send(frame)
            return
        for frame in frames:
            if isinstance(frame, str):
                self.protocol.send_text(frame.encode())
            else:
                self.protocol.send_binary(frame)
        self.transport.write(b"".join(self.protocol.data_to_send()))
        if self.paused:
            await self.drain()

    def data_received(self, data: bytes) -> None:
        metrics.link_received.inc(len(data))
        self.bytes_since_message += len(data)
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        super().process_event(event)
        if not isinstance(event, Frame):
            return
        if event.opcode in (Opcode.PING, Opcode.PONG):
            # A control frame in the middle of a message is none of its bytes.
            self.bytes_since_message -= 2 + len(event.data)
            self._count_control_frame(time.monotonic())
        elif event.fin:
            self.bytes_since_message = 0

    def _count_control_frame(self, now: float) -> None:
        earned = (now - self._counted_at) * CONTROL_FRAMES_PER_SECOND
        self._allowance = min(CONTROL_FRAMES_BURST, self._allowance + earned) - 1
        self._counted_at = now
        if self._allowance < 0:
            self.flooded = True
            self.transport.abort()
