"""Reads a kubeconfig: which cluster, and with what credentials. Nothing is connected to here.

What would run a program, or reach the cluster by another way than the one that is configured here,
is refused by name and never passed over.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.clouds.kubernetes.subject import expiry
from agent.credentials import KubernetesCredentials
from agent.errors import CredentialUnavailable
from agent.secret import Secret

_SIZE_LIMIT = 1024 * 1024
_REFUSED_OF_CLUSTER = {
    "proxy-url": "set HTTPS_PROXY for the agent instead",
    "tls-server-name": "use an address that the server's certificate names",
}
_REFUSED_OF_USER = {
    "exec": "the agent runs no program to log in; use the connector of that cloud, or a token of a "
    "service account",
    "auth-provider": "the agent runs no program to log in; use the connector of that cloud, or a "
    "token of a service account",
    "as": "the agent impersonates nobody; bind the rights to the agent's own account",
}

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """One context of a file; *context* None means its current one.

    *insecure* permits what the file may ask for: not to verify the server's certificate.
    """

    path: Path
    context: str | None = None
    insecure: bool = False

    def credentials(self) -> KubernetesCredentials:
        """Read the file and all it names, as they stand now; blocks.

        Raises:
            CredentialUnavailable: A file is missing or no kubeconfig, or it asks for something that
                the agent does not do.
        """
        document = self._document()
        context = self._entry(document, "context", self.context or document.get("current-context"))
        cluster = self._entry(document, "cluster", context.get("cluster"))
        user = self._entry(document, "user", context.get("user"))
        self._refuse(cluster, _REFUSED_OF_CLUSTER)
        self._refuse(user, _REFUSED_OF_USER)
        token = self._token(user)
        certificate = self._pem(user, "client-certificate")
        key = self._pem(user, "client-key")
        username, password = _secret(user.get("username")), _secret(user.get("password"))
        if (certificate is None) != (key is None) or (username is None) != (password is None):
            raise self._wrong("has one half of the user's credentials without the other")
        if token is None and certificate is None and username is None:
            raise self._wrong(f"has no credentials for user {context.get('user')!r}")
        return KubernetesCredentials(
            server=self._server(cluster),
            token=token,
            client_certificate=certificate,
            client_key=key,
            username=username,
            password=password,
            certificate_authority=self._pem(cluster, "certificate-authority"),
            namespace=context.get("namespace"),
            verify_tls=self._verify_tls(cluster),
            expires_at=expiry(token, certificate),
        )

    def _document(self) -> Entry:
        import yaml

        try:
            document = yaml.safe_load(content_of(self.path))
        except OSError as error:
            raise self._wrong(error.strerror or "cannot be read") from None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            # The parser's own text quotes the place, which may be a token.
            raise self._wrong("is not YAML") from None
        if not isinstance(document, dict):
            raise self._wrong("is no kubeconfig")
        return document

    def _entry(self, document: Entry, kind: str, name: object) -> Entry:
        if name is None:
            raise self._wrong(f"names no {kind}; set context")
        listed = document.get(f"{kind}s")
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict) and one.get("name") == name:
                found = one.get(kind)
                return found if isinstance(found, dict) else {}
        raise self._wrong(f"has no {kind} {name!r}")

    def _refuse(self, entry: Entry, refused: Mapping[str, str]) -> None:
        for key, instead in refused.items():
            if entry.get(key):
                raise self._wrong(f"uses {key}, which the agent refuses: {instead}")

    def _server(self, cluster: Entry) -> str:
        server = str(cluster.get("server", ""))
        if not server.startswith("https://"):
            raise self._wrong("names a server that is not https://")
        return server

    def _verify_tls(self, cluster: Entry) -> bool:
        if cluster.get("insecure-skip-tls-verify") and not self.insecure:
            raise self._wrong("skips TLS verification; allow it with insecure: true, or name a CA")
        return not self.insecure

    def _token(self, user: Entry) -> Secret | None:
        if named := user.get("tokenFile"):
            return _secret(self._file(str(named)).strip())
        return _secret(user.get("token"))

    def _pem(self, entry: Entry, key: str) -> Secret | None:
        if data := entry.get(f"{key}-data"):
            return _secret(self._decoded(key, str(data)))
        if named := entry.get(key):
            return _secret(self._file(str(named)))
        return None

    def _decoded(self, key: str, data: str) -> str:
        try:
            return base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError):
            raise self._wrong(f"holds {key}-data that is not base64 of text") from None

    def _file(self, named: str) -> str:
        path = self.path.parent / named
        try:
            return content_of(path)
        except OSError as error:
            raise self._wrong(f"names {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise self._wrong(f"names {path}, which is not text") from None

    def _wrong(self, what: str) -> CredentialUnavailable:
        return CredentialUnavailable(detail=f"kubeconfig {self.path}: {what}")


def content_of(path: Path) -> str:
    """Return the text of a small file; blocks, and raises OSError or UnicodeDecodeError."""
    with path.open("rb") as file:
        content = file.read(_SIZE_LIMIT + 1)
    if len(content) > _SIZE_LIMIT:
        raise OSError(None, f"larger than {_SIZE_LIMIT} bytes")
    return content.decode()


def _secret(text: object) -> Secret | None:
    return Secret(str(text)) if text else None
