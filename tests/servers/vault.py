"""An OpenBao where every login method is set up, with what it takes to log in, right and wrong."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.doubles.token_issuer import TokenIssuer, running_token_issuer
from tests.servers.openbao import OpenBao, start_openbao_with_tls
from tests.servers.tls import CertificateAuthority

if TYPE_CHECKING:
    from hvac import Client

METHODS = ["approle", "approle-wrapped", "kubernetes", "jwt", "jwks", "userpass", "cert"]
WRONG = "wrong-secret-of-a-test"

_POLICY = """
path "secret/data/ml/*" { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] }
"""
_PASSWORD = "password-of-the-test-agent"


class Vault:
    """The server, and for each of `METHODS` the `auth` part of a configuration."""

    def __init__(
        self, server: OpenBao, issuer: TokenIssuer, authority: CertificateAuthority, directory: Path
    ) -> None:
        self.server = server
        self.issuer = issuer
        self.authority = authority
        self._directory = directory
        self.admin: Client = server.client()
        for set_up in (self._approle, self._kubernetes, self._jwt, self._userpass, self._cert):
            set_up()

    def auth(self, method: str, *, wrong: bool = False) -> dict[str, Any]:
        """Return settings that log in with files of their own, or are refused."""
        ways: Mapping[str, Callable[[bool], dict[str, Any]]] = {
            "approle": self._with_secret_id,
            "approle-wrapped": self._with_wrapped_secret_id,
            "kubernetes": lambda wrong: self._with_jwt("kubernetes", "kubernetes", wrong),
            "jwt": lambda wrong: self._with_jwt("jwt", "jwt", wrong),
            "jwks": lambda wrong: self._with_jwt("jwt", "jwks", wrong),
            "userpass": self._with_password,
            "cert": self._with_certificate,
        }
        return ways[method](wrong)

    def file(self, content: str) -> Path:
        """Return a new file with *content*."""
        file = self._directory / str(uuid.uuid4())
        file.write_text(content + "\n")
        return file

    def secret_id(self) -> str:
        """Return a new secret id of the role."""
        return str(self.admin.auth.approle.generate_secret_id("ml")["data"]["secret_id"])

    def wrapped_secret_id(self) -> str:
        """Return a token that is good for unwrapping one."""
        answer = self.admin.adapter.post("/v1/auth/approle/role/ml/secret-id", wrap_ttl=600)
        return str(answer["wrap_info"]["token"])

    def certificate(self, name: str = "agent") -> tuple[Path, Path]:
        """Return files with a new certificate for *name*, and its key."""
        cert_file, key_file = self.authority.issue(name)
        return self.file(cert_file.read_text()), self.file(key_file.read_text())

    def put(self, path: str, value: str) -> None:
        """Let ``secret/ml/PATH`` have the field ``key``."""
        self.admin.secrets.kv.v2.create_or_update_secret(f"ml/{path}", {"key": value})

    def _with_secret_id(self, wrong: bool) -> dict[str, Any]:
        file = self.file(WRONG if wrong else self.secret_id())
        return {"method": "approle", "role_id": self._role_id(), "secret_id_file": file}

    def _with_wrapped_secret_id(self, wrong: bool) -> dict[str, Any]:
        auth = self._with_secret_id(wrong=False)
        file = self.file(WRONG if wrong else self.wrapped_secret_id())
        return {**auth, "secret_id_file": file, "secret_id_is_wrapped": True}

    def _with_jwt(self, method: str, mount: str, wrong: bool) -> dict[str, Any]:
        file = self.file(self.issuer.sign("other" if wrong else "agent"))
        return {"method": method, "role": "ml", "token_file": file, "mount": mount}

    def _with_password(self, wrong: bool) -> dict[str, Any]:
        file = self.file(WRONG if wrong else _PASSWORD)
        return {"method": "userpass", "username": "agent", "password_file": file}

    def _with_certificate(self, wrong: bool) -> dict[str, Any]:
        cert_file, key_file = self.certificate("other" if wrong else "agent")
        return {"method": "cert", "cert_file": cert_file, "key_file": key_file}

    def _role_id(self) -> str:
        return str(self.admin.auth.approle.read_role_id("ml")["data"]["role_id"])

    def _approle(self) -> None:
        self.admin.sys.create_or_update_policy("ml", _POLICY)
        self.admin.sys.enable_auth_method("approle")
        self.admin.auth.approle.create_or_update_approle("ml", token_policies=["ml"])

    def _kubernetes(self) -> None:
        self.admin.sys.enable_auth_method("kubernetes")
        config = {
            "kubernetes_host": self.issuer.address,
            "kubernetes_ca_cert": self.authority.ca_file.read_text(),
            "disable_local_ca_jwt": True,
        }
        self.admin.adapter.post("/v1/auth/kubernetes/config", json=config)
        role = {
            "bound_service_account_names": ["agent"],
            "bound_service_account_namespaces": ["ml"],
            "token_policies": ["ml"],
        }
        self.admin.adapter.post("/v1/auth/kubernetes/role/ml", json=role)

    def _jwt(self) -> None:
        ca = self.authority.ca_file.read_text()
        configs = {
            "jwt": {"jwt_validation_pubkeys": [self.issuer.public_key]},
            "jwks": {"jwks_url": self.issuer.keys_url, "jwks_ca_pem": ca},
        }
        role = {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": [self.issuer.audience],
            "bound_subject": "system:serviceaccount:ml:agent",
            "token_policies": ["ml"],
        }
        for mount, config in configs.items():
            self.admin.sys.enable_auth_method("jwt", path=mount)
            self.admin.adapter.post(f"/v1/auth/{mount}/config", json=config)
            self.admin.adapter.post(f"/v1/auth/{mount}/role/ml", json=role)

    def _userpass(self) -> None:
        user = {"password": _PASSWORD, "token_policies": ["ml"]}
        self.admin.adapter.post("/v1/auth/userpass/users/agent", json=user)

    def _cert(self) -> None:
        self.admin.sys.enable_auth_method("cert")
        role = {
            "certificate": self.authority.ca_file.read_text(),
            "allowed_common_names": ["agent"],
            "token_policies": ["ml"],
        }
        self.admin.adapter.post("/v1/auth/cert/certs/ml", json=role)


@contextmanager
def start_vault(directory: Path, authority: CertificateAuthority) -> Iterator[Vault]:
    """Start one, and end it with the context."""
    with running_token_issuer(authority) as issuer:
        server = start_openbao_with_tls(directory, authority)
        try:
            vault = Vault(server, issuer, authority, directory)
            yield vault
            vault.admin.adapter.close()
        finally:
            server.stop()
