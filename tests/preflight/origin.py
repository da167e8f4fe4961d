"""A control plane's origin as far as a preflight sees it: it accepts, and answers with a date."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from agent.config.control_plane import ControlPlane
from agent.config.settings import Settings


@asynccontextmanager
async def origin(
    *,
    pair: tuple[Path, Path] | None = None,
    client_ca: Path | None = None,
    ahead: timedelta = timedelta(),
) -> AsyncIterator[int]:
    """Yield the port. With *pair* it speaks TLS; its clock is *ahead* of ours."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(64 * 1024)
            date = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
            writer.write(f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\n\r\n".encode())
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    context = _context(pair, client_ca) if pair else None
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _context(pair: tuple[Path, Path], client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(*pair)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def control_plane(port: int, *, host: str = "127.0.0.1", **more: object) -> ControlPlane:
    """Return settings that dial *port* with TLS."""
    return ControlPlane.model_validate({"url": f"wss://{host}:{port}/agent/v1/connect", **more})


def settings(**sections: Mapping[str, object] | list[object]) -> Settings:
    """Return settings with these sections."""
    return Settings.model_validate(sections)
