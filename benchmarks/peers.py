"""Other ways to the same bytes, each started as its makers document it: what we compare with."""

import getpass
import json
import os
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.clients import Download
from tests.servers.processes import accepts, free_port, spawn
from tests.servers.programs import program

SNYK_BROKER = "snyk-broker@5.22.14"

_PROXY = """\
daemon off;
{user}
error_log stderr warn;
pid {directory}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {origin}; proxy_max_temp_file_size 0; }}
    }}
}}
"""

_SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
Ciphers aes128-gcm@openssh.com
"""

_FILTERS = {
    "public": [{"method": "any", "path": "/*"}],
    "private": [{"method": "any", "path": "/*", "origin": "{origin}"}],
}
_WORKLOADS = {
    "CLIENT_WORKLOAD_NAME": "BrokerClientRequestWorkload",
    "CLIENT_WORKLOAD_MODULE_PATH": "../broker-workload/clientLocalRequests",
    "REMOTE_WORKLOAD_NAME": "BrokerWorkload",
    "REMOTE_WORKLOAD_MODULE_PATH": "../broker-workload/websocketRequests",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that stands for the origin at *url*; *pid* is its process beside the origin."""

    name: str
    url: str
    pid: int | None = None

    def download(self, file: str) -> Download:
        """Return the download that takes a file on this way."""
        return Download(f"{self.url}/artifacts/prod/{file}", {})


@contextmanager
def nginx_hop(origin: str, directory: Path) -> Iterator[Peer]:
    """One reverse proxy in between, with its defaults, but without files on the disk."""
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _PROXY.format(user=user, directory=directory, port=port, origin=origin)
    )
    command: list[str | Path] = [
        program("nginx"), "-e", "stderr", "-c", configuration, "-p", directory,
    ]  # fmt: skip
    with spawn(command, ready=port, log=directory / "nginx.log"):
        yield Peer("nginx", f"http://127.0.0.1:{port}")


@contextmanager
def ssh_tunnel(origin: str, directory: Path) -> Iterator[Peer]:
    """``ssh -R`` from beside the origin to an sshd of its own, with aes128-gcm."""
    port, far_port = free_port(), free_port()
    for key in ("host_key", "user_key"):
        subprocess.run(
            [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", directory / key],
            check=True,
        )
    (directory / "sshd_config").write_text(_SSHD.format(port=port, directory=directory))
    if os.geteuid() == 0:
        # sshd refuses to start without it, and only a service manager makes it.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    sshd: list[str | Path] = [program("sshd"), "-D", "-e", "-f", directory / "sshd_config"]
    ssh: list[str | Path] = [
        program("ssh"), "-N", "-F", "none", "-p", str(port), "-i", directory / "user_key",
        "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={directory}/known_hosts",
        "-o", "ExitOnForwardFailure=yes", "-c", "aes128-gcm@openssh.com",
        "-R", f"127.0.0.1:{far_port}:{urlsplit(origin).netloc}", f"{getpass.getuser()}@127.0.0.1",
    ]  # fmt: skip
    with (
        spawn(sshd, ready=port, log=directory / "sshd.log"),
        spawn(ssh, ready=far_port, log=directory / "ssh.log") as client,
    ):
        yield Peer("ssh -R", f"http://127.0.0.1:{far_port}", client.pid)


@contextmanager
def snyk_broker(origin: str, directory: Path, *, installed: Path) -> Iterator[Peer]:
    """snyk-broker's client beside the origin and its server, results by HTTP POST.

    *installed* is what `install_snyk_broker` returned.
    """
    filters = directory / "accept.json"
    filters.write_text(json.dumps(_FILTERS).replace("{origin}", origin))
    port, near_port, token = free_port(), free_port(), str(uuid.uuid4())
    env = {
        **os.environ, "LOG_LEVEL": "error", "PREFLIGHT_CHECKS_ENABLED": "false",
        "ACCEPT": str(filters), "BROKER_TOKEN": token,
        "BROKER_SERVER_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    command: list[str | Path] = [program("node"), installed / "dist" / "cli" / "index.js"]
    with (
        spawn([*command, "server"], ready=port, log=directory / "server.log",
              env={**env, "PORT": str(port)}),
        spawn([*command, "client"], ready=lambda: _is_connected(near_port),
              log=directory / "client.log", env={**env, "PORT": str(near_port)}) as client,
    ):  # fmt: skip
        yield Peer("snyk-broker", f"http://127.0.0.1:{port}/broker/{token}", client.pid)


def install_snyk_broker(directory: Path) -> Path:
    """Install it below *directory* with npm, unless it is there; return where it is."""
    package = directory / "node_modules" / "snyk-broker"
    if not (package / "package.json").exists():
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "package.json").write_text("{}")
        subprocess.run(
            [program("npm"), "install", "--no-audit", "--no-fund", "--silent", SNYK_BROKER],
            cwd=directory,
            check=True,
        )
    # The package of npm lacks the file that it needs to start.
    (package / "config.default.json").write_text(json.dumps(_WORKLOADS))
    return package


def _is_connected(port: int) -> bool:
    if not accepts(port):
        return False
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=2) as answer:
            return all(link["ok"] for link in json.load(answer))
    except OSError:
        return False
