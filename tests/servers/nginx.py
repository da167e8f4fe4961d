"""nginx as an origin of static files, fast enough never to be what a benchmark measures."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import Server, free_port, spawn
from tests.servers.programs import program

CONFIGURATION = """\
daemon off;
worker_processes {workers};
error_log stderr warn;
pid {directory}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        {more}
    }}
}}
"""


@dataclass(frozen=True)
class Origin:
    """A running nginx."""

    url: str
    port: int
    server: Server


@contextmanager
def nginx(root: Path, directory: Path, *, workers: int = 1, more: str = "") -> Iterator[Origin]:
    """Serve the files below *root* by HTTP, ranges included; its own files go to *directory*.

    *more* is added to the configuration of the one server.
    Started by root, nginx reads as root: pytest's private directories need no other mode.
    """
    port = free_port()
    user = "user root;\n" if os.geteuid() == 0 else ""
    configuration = directory / "nginx.conf"
    configuration.write_text(
        user
        + CONFIGURATION.format(
            port=port, root=root, directory=directory, workers=workers, more=more
        )
    )
    # Without -e, nginx first opens the error log of the distribution, which only root may write.
    argv: list[str | Path] = [
        program("nginx"),
        "-e",
        "stderr",
        "-c",
        configuration,
        "-p",
        directory,
    ]
    with spawn(argv, ready=port, log=directory / "nginx.log") as server:
        yield Origin(f"http://127.0.0.1:{port}", port, server)
