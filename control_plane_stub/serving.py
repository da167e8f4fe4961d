"""The verb ``serve`` as a person meets it: its log, and where to open the dashboard."""

import argparse
import asyncio
import sys
from pathlib import Path

import structlog
import uvloop

from control_plane_stub.server import ServeOptions, serve


def run_server(options: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM; stdout gets the address, stderr the log.

    Raises:
        UsageError: A file, the address or the state directory can't be used.
    """
    _log_to_stderr()
    host, port = options.listen
    token_file = options.api_token_file or options.state_dir / "api-token"
    serve_options = ServeOptions(
        state_dir=options.state_dir,
        listen_host=host,
        listen_port=port,
        api_token_file=options.api_token_file,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        client_ca=options.client_ca,
        public_host=options.public_host,
        record_frames=options.record_frames,
        heartbeat_s=options.heartbeat,
        upload_from=options.upload_from if options.upload else None,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(serve_options, started=lambda url: _welcome(url, token_file)))


def _welcome(url: str, token_file: Path) -> None:
    sys.stdout.write(f"control plane at {url}\n")
    if sys.stdout.isatty():
        # Only to a person at a terminal: a log that is collected must not hold the token.
        token = token_file.read_text().strip()
        sys.stdout.write(f"dashboard:     {url}/#token={token}\nAPI token in:  {token_file}\n")
    sys.stdout.flush()


def _log_to_stderr() -> None:
    on_terminal = sys.stderr.isatty()
    render = structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
