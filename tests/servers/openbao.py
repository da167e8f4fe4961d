"""A real OpenBao, which speaks Vault's protocol: in memory, or with TLS and a disk."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.processes import Server, free_port, spawn
from tests.servers.tls import CertificateAuthority

if TYPE_CHECKING:
    from hvac import Client

ROOT_TOKEN = "root-of-the-test-vault"
_PASSWORD = "admin-of-the-test-vault"
_BINARY = Path(sys.executable).parent / "bao"

_POLICY = """
path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
"""
_CONFIG = """
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
storage "raft" {{
  path = "{directory}"
  node_id = "n1"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_cert_file = "{cert_file}"
  tls_key_file = "{key_file}"
  tls_client_ca_file = "{client_ca_file}"
}}
seal "static" {{
  current_key_id = "k1"
  current_key = "file://{directory}/unseal.key"
}}
initialize "bootstrap" {{
  request "mount-kv" {{
    operation = "update"
    path = "sys/mounts/secret"
    data = {{ type = "kv" options = {{ version = "2" }} }}
  }}
  request "userpass" {{
    operation = "update"
    path = "sys/auth/userpass"
    data = {{ type = "userpass" }}
  }}
  request "policy" {{
    operation = "update"
    path = "sys/policies/acl/admin"
    data = {{ policy = {policy} }}
  }}
  request "user" {{
    operation = "update"
    path = "auth/userpass/users/admin"
    data = {{ password = "{password}" token_policies = ["admin"] }}
  }}
}}
"""


class OpenBao:
    """One server; `stop` and `start` keep its address, and its data where it has a disk."""

    def __init__(
        self, argv: list[str | Path], *, address: str, log: Path, ca_file: Path | None
    ) -> None:
        self.address = address
        self.ca_file = ca_file
        self._argv = argv
        self._log = log
        self._server: Server | None = None

    def start(self) -> None:
        """Start it and wait until it is unsealed and active."""
        self._server = spawn(self._argv, ready=self._active, log=self._log)

    def stop(self) -> None:
        """End it; idempotent."""
        if self._server is not None:
            self._server.stop()

    def client(self, token: str = "", namespace: str | None = None) -> "Client":
        """Return a client that may do everything, or what *token* may."""
        from hvac import Client

        client = Client(
            url=self.address,
            token=token or ROOT_TOKEN,
            verify=str(self.ca_file) if self.ca_file else True,
            namespace=namespace,
        )
        if self.ca_file and not token:
            client.auth.userpass.login("admin", _PASSWORD)
        return client

    def _active(self) -> bool:
        import requests

        try:
            verify = str(self.ca_file) if self.ca_file else True
            health = requests.get(f"{self.address}/v1/sys/health", verify=verify, timeout=2)
        except requests.RequestException:
            return False
        return health.status_code == 200


def start_openbao(directory: Path) -> OpenBao:
    """Start one in memory, with a KV mount ``secret``; `ROOT_TOKEN` may do everything."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    argv: list[str | Path] = [
        _BINARY, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}",
        f"-dev-listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    log = directory / "openbao.log"
    server = OpenBao(argv, address=f"http://127.0.0.1:{port}", log=log, ca_file=None)
    server.start()
    return server


def start_openbao_with_tls(directory: Path, authority: CertificateAuthority) -> OpenBao:
    """Start one with a disk and a certificate of *authority*; it unseals itself at each start.

    A client may show a certificate of *authority*, too, for the login with one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "unseal.key").write_bytes(os.urandom(32))
    port, cluster_port = free_port(), free_port()
    cert_file, key_file = authority.issue("openbao")
    config = directory / "openbao.hcl"
    values: dict[str, Any] = {
        "port": port, "cluster_port": cluster_port, "directory": directory,
        "cert_file": cert_file, "key_file": key_file, "password": _PASSWORD,
        "policy": json.dumps(_POLICY), "client_ca_file": authority.ca_file,
    }  # fmt: skip
    config.write_text(_CONFIG.format(**values))
    argv: list[str | Path] = [_BINARY, "server", f"-config={config}"]
    log = directory / "openbao.log"
    address = f"https://127.0.0.1:{port}"
    server = OpenBao(argv, address=address, log=log, ca_file=authority.ca_file)
    server.start()
    return server
