"""Runs the control plane: options in, one listening port, an orderly end."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from agent.errors import UsageError
from agent.protocol.messages import UploadOffer
from agent.protocol.upload import UPLOAD_PATH
from control_plane_stub.agents.gate import Gate
from control_plane_stub.allocator import keep_large_buffers
from control_plane_stub.plane import ControlPlane, open_plane
from control_plane_stub.rest.application import application
from control_plane_stub.rest.auth import api_token

log = structlog.get_logger()

GIBIBYTE = 1024**3
GRACE_S = 2.0
"""So long requests may go on after the links were closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Everything `serve` can be told."""

    state_dir: Path
    listen_host: str = "127.0.0.1"
    listen_port: int = 8080
    """0 takes a free one."""
    api_token_file: Path | None = None
    """Default: ``api-token`` in the state directory, made if missing."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    """Agents then need a certificate of this issuer, beside their own key."""
    public_host: str | None = None
    """As in the URL that agents are configured with; default: whatever they say in Host."""
    record_frames: Path | None = None
    """Everything that crosses the agents' links is appended to this file."""
    spool_limit: int = 4 * GIBIBYTE
    """So much of one job's content is taken in while nobody reads it, in bytes."""
    heartbeat_s: float = 15.0
    """Between two pings of a link; a link without a message for three of them is closed."""
    upload_from: int | None = 1024 * 1024
    """Agents are offered to upload content of so many bytes and more; None offers nothing."""


async def serve(options: ServeOptions, *, started: Callable[[str], None] | None = None) -> None:
    """Serve until cancelled or told to end by SIGTERM or SIGINT; *started* gets the base URL.

    Raises:
        UsageError: A file, an address or the state directory is not usable.
    """
    keep_large_buffers()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with running(options) as url:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        try:
            if started is not None:
                started(url)
            await ended.wait()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


@asynccontextmanager
async def running(options: ServeOptions) -> AsyncIterator[str]:
    """Serve for the time of the block and give the base URL; touches no signal handler.

    Raises:
        UsageError: A file, an address or the state directory is not usable.
    """
    plane, token, tls = _opened(options)
    gate = Gate(
        plane,
        require_certificate=options.client_ca is not None,
        public_host=options.public_host,
    )
    runner = web.AppRunner(
        application(plane, gate, token=token),
        handler_cancellation=True,
        shutdown_timeout=GRACE_S,
        access_log=None,
    )
    try:
        await plane.take_up()
        await runner.setup()
        yield await _listening(runner, options, tls)
    finally:
        await gate.close()
        await runner.cleanup()
        await plane.close()
        log.info("server.stopped")


def _opened(options: ServeOptions) -> tuple[ControlPlane, str, ssl.SSLContext | None]:
    try:
        tls = _tls(options)
        options.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        token = api_token(options.api_token_file, state_dir=options.state_dir)
        plane = open_plane(
            options.state_dir,
            spool_limit=options.spool_limit,
            record_frames=options.record_frames,
            heartbeat_s=options.heartbeat_s,
            upload=_upload(options),
        )
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    return plane, token, tls


def _upload(options: ServeOptions) -> UploadOffer | None:
    if options.upload_from is None:
        return None
    return UploadOffer(path=UPLOAD_PATH, min_bytes=options.upload_from)


def _tls(options: ServeOptions) -> ssl.SSLContext | None:
    if options.tls_cert is None or options.tls_key is None:
        if options.tls_cert or options.tls_key or options.client_ca:
            raise ValueError("TLS needs both --tls-cert and --tls-key")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.tls_cert, options.tls_key)
    if options.client_ca is not None:
        context.load_verify_locations(options.client_ca)
        # Users come with a token only; the agents' endpoints look for the certificate themselves.
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


async def _listening(
    runner: web.AppRunner, options: ServeOptions, tls: ssl.SSLContext | None
) -> str:
    site = web.TCPSite(runner, options.listen_host, options.listen_port, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        where = f"{options.listen_host}:{options.listen_port}"
        raise UsageError(f"cannot listen on {where}: {error.strerror or error}") from error
    host, port = runner.addresses[0][:2]
    url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    log.info("server.started", url=url, state_dir=str(options.state_dir))
    return url
