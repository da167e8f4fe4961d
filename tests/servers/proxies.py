"""Real forward proxies that demand a user and a password, each on a free port of 127.0.0.1."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.servers.processes import Server, free_port, spawn
from tests.servers.programs import program

USER = "walter"
PASSWORD = "battery-staple.7"

Argv = list[str | Path]

SQUID = """\
http_port 127.0.0.1:{port}
auth_param basic program /usr/lib/squid/basic_ncsa_auth {directory}/passwords
acl members proxy_auth REQUIRED
http_access allow members
http_access deny all
access_log stdio:{directory}/access.log
cache_log {directory}/cache.log
pid_filename none
coredump_dir none
pinger_enable off
cache deny all
shutdown_lifetime 0 seconds
"""

TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Timeout 600
LogLevel Connect
BasicAuth {user} {password}
"""


@dataclass(frozen=True)
class Proxy:
    """A running proxy and the log in which it notes each target that it was asked for."""

    scheme: str
    port: int
    server: Server
    access_log: Path

    def url(self, user: str = USER, password: str = PASSWORD) -> str:
        """The proxy's address with these credentials."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"{self.scheme}://{login}@127.0.0.1:{self.port}"

    def asked_for(self, port: int) -> bool:
        """Whether somebody wanted to reach *port*; squid only notes it when the tunnel ends."""
        return f":{port}" in self.access_log.read_text()


@contextmanager
def squid() -> Iterator[Proxy]:
    """An HTTP proxy: CONNECT is answered 407 without the right credentials."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "squid.conf").write_text(SQUID.format(port=port, directory=directory))
        (directory / "passwords").write_text(f"{USER}:{_hashed(PASSWORD)}\n")
        _give_to("proxy", directory)
        argv: Argv = [program("squid"), "-N", "-f", directory / "squid.conf"]
        yield from _running("http", port, argv, directory, access_log="access.log")


@contextmanager
def tinyproxy() -> Iterator[Proxy]:
    """An HTTP proxy of another make: CONNECT is answered 407 without the right credentials."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        configuration = TINYPROXY.format(port=port, user=USER, password=PASSWORD)
        (directory / "tinyproxy.conf").write_text(configuration)
        argv: Argv = [program("tinyproxy"), "-d", "-c", directory / "tinyproxy.conf"]
        yield from _running("http", port, argv, directory, access_log="output.log")


@contextmanager
def microsocks() -> Iterator[Proxy]:
    """A SOCKS5 proxy with user and password, which looks names up at its own end (socks5h)."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        argv: Argv = [program("microsocks"), "-i", "127.0.0.1", "-p", str(port)]
        argv += ["-u", USER, "-P", PASSWORD]
        yield from _running("socks5h", port, argv, Path(name), access_log="output.log")


def _running(
    scheme: str, port: int, argv: Argv, directory: Path, *, access_log: str
) -> Iterator[Proxy]:
    with spawn(argv, ready=port, log=directory / "output.log") as server:
        yield Proxy(scheme, port, server, directory / access_log)


def _hashed(password: str) -> str:
    argv = [str(program("openssl")), "passwd", "-apr1", "-stdin"]
    done = subprocess.run(argv, input=password, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _give_to(user: str, directory: Path) -> None:
    """Squid started by root goes on as *user*, who must read its files and write its logs."""
    if os.geteuid() == 0:
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, user)
