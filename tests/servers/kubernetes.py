"""A cluster for tests: the one that KUBECONFIG names, else the double of its API.

What the tests need of it they make with the rights of an administrator, by the same requests on
both.
"""

import base64
import http.client
import json
import os
import ssl
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.doubles.kubernetes.api import KubernetesApi
from tests.doubles.kubernetes.authentication import ADMIN, Authentication, User
from tests.doubles.kubernetes.node import Node
from tests.doubles.kubernetes.server import serving
from tests.doubles.kubernetes.storage import Storage
from tests.servers.tls import CertificateAuthority

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ADMIN_TOKEN = "token-of-the-admin-of-a-double"
PERSON = "ml-reader"
PASSWORD = "password-at-a-double"

Rule = Mapping[str, Any]


class ClusterRefused(Exception):
    """The cluster answered an administrator with an error."""


@dataclass
class Double:
    """The handles of a double: what goes wrong in clusters, when a test wants it."""

    api: KubernetesApi

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Have the API give no answers, and break off those it is giving."""
        self.api.close()
        try:
            yield
        finally:
            self.api.down.clear()

    def break_logs(self) -> None:
        """End every log that is being read, as when the connection to the kubelet breaks."""
        self.api.logs.break_off()

    def rotate_logs(self) -> None:
        """Throw away what pods have written so far."""
        self.api.logs.rotate()

    def expire_watches(self) -> None:
        """Have all watches, and whoever goes on from where they were, end in a 410."""
        self.api.storage.compact()

    @property
    def log_requests(self) -> list[dict[str, str]]:
        """The parameters of each log that was asked for and given."""
        return self.api.logs.requests


@dataclass
class Cluster:
    """What the kubeconfig *path* names, and the requests that tests make there.

    *certificate* and its key, in PEM text, and the *password* of a person are None where the
    cluster has no such login. The person of both is *person*.
    """

    path: Path
    certificate: tuple[str, str] | None = None
    password: str | None = None
    person: str = PERSON
    double: "Double | None" = None
    """What can be done to a double alone; None of a real cluster."""
    _namespaces: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        document = yaml.safe_load(self.path.read_text())
        context = _named(document["contexts"], document["current-context"])["context"]
        self._cluster = _named(document["clusters"], context["cluster"])["cluster"]
        self._user = _named(document["users"], context["user"])["user"]
        self.server: str = self._cluster["server"]
        self.authority = _pem(self.path, self._cluster, "certificate-authority")

    def namespace(self) -> str:
        """Make one, which is removed in the end."""
        name = f"cloud-agent-{uuid.uuid4().hex[:12]}"
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self._namespaces.append(name)
        return name

    def account(self, namespace: str, name: str, rules: Sequence[Rule] = ()) -> None:
        """Make a service account that may do what *rules* say; so may the person."""
        inside = f"namespaces/{namespace}"
        meta = {"metadata": {"name": name}}
        self.ask("POST", f"/api/v1/{inside}/serviceaccounts", meta)
        self.ask("POST", f"{RBAC}/{inside}/roles", {**meta, "rules": list(rules)})
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        subjects = [
            {"kind": "ServiceAccount", "name": name, "namespace": namespace},
            {"kind": "User", "name": self.person, "apiGroup": "rbac.authorization.k8s.io"},
        ]
        binding = {**meta, "roleRef": ref, "subjects": subjects}
        self.ask("POST", f"{RBAC}/{inside}/rolebindings", binding)

    def token(self, namespace: str, account: str) -> str:
        """Issue a token that is good for ten minutes; real clusters issue no shorter ones."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = self.ask("POST", path, {"spec": {"expirationSeconds": 600}})
        return str(answer["status"]["token"])

    def kubeconfig(self, token: str) -> str:
        """Return one for whoever has *token*."""
        return _kubeconfig(self.server, self.authority, token)

    def put_secret(self, namespace: str, name: str, **values: str | bytes) -> None:
        """Make a Secret, or change what it holds."""
        data = {key: base64.b64encode(_bytes(value)).decode() for key, value in values.items()}
        secret = {"metadata": {"name": name}, "data": data}
        path = f"/api/v1/namespaces/{namespace}/secrets"
        try:
            self.ask("PUT", f"{path}/{name}", secret)
        except ClusterRefused:
            self.ask("POST", path, secret)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request as the administrator.

        Raises:
            ClusterRefused: The answer is an error.
        """
        where = urlsplit(self.server)
        connection = http.client.HTTPSConnection(
            where.hostname or "", where.port or 443, context=self._tls(), timeout=30
        )
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token := self._user.get("token"):
            headers["Authorization"] = f"Bearer {token}"
        with closing(connection):
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            answer = response.read().decode()
        if response.status >= 300:
            raise ClusterRefused(f"{method} {path}: {response.status} {answer}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def own_certificate(self) -> tuple[str, str] | None:
        """Return the administrator's, with its key."""
        certificate = _pem(self.path, self._user, "client-certificate")
        key = _pem(self.path, self._user, "client-key")
        return (certificate, key) if certificate else None

    def close(self) -> None:
        for name in self._namespaces:
            with suppress(ClusterRefused):
                self.ask("DELETE", f"/api/v1/namespaces/{name}")

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority)
        if pair := self.own_certificate():
            with tempfile.NamedTemporaryFile("w") as pem:
                pem.write("\n".join(pair))
                pem.flush()
                context.load_cert_chain(pem.name)
        return context


@contextmanager
def cluster_of_environment(authority: CertificateAuthority, directory: Path) -> Iterator[Cluster]:
    """Yield the cluster that KUBECONFIG names, else a double that lives as long."""
    named = os.environ.get("KUBECONFIG")
    if named:
        cluster = _real_cluster(Path(named))
        yield cluster
        cluster.close()
        return
    with double_of_cluster(authority, directory) as cluster:
        yield cluster


@contextmanager
def double_of_cluster(
    authority: CertificateAuthority, directory: Path, *, self_subject_review: bool = True
) -> Iterator[Cluster]:
    """Yield a double; without *self_subject_review* it is as old as 1.27."""
    storage = Storage()
    passwords = {(PERSON, PASSWORD): User(PERSON)}
    authentication = Authentication(storage, {ADMIN_TOKEN: ADMIN}, passwords)
    api = KubernetesApi(storage, authentication, self_subject_review=self_subject_review)
    node = Node(storage, api.controllers, api.logs)
    with serving(api, authority) as server, closing(api), closing(node):
        path = directory / "kubeconfig"
        path.write_text(_kubeconfig(server, authority.ca_file.read_text(), ADMIN_TOKEN))
        certificate, key = authority.issue(PERSON)
        pair = certificate.read_text(), key.read_text()
        yield Cluster(path, certificate=pair, password=PASSWORD, double=Double(api))


def _real_cluster(path: Path) -> Cluster:
    """Of a real one, the administrator's certificate serves as a person's."""
    cluster = Cluster(path)
    cluster.certificate = cluster.own_certificate()
    if cluster.certificate is not None:
        subject = x509.load_pem_x509_certificate(cluster.certificate[0].encode()).subject
        cluster.person = str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    return cluster


def _kubeconfig(server: str, authority: str, token: str) -> str:
    pem = base64.b64encode(authority.encode()).decode()
    cluster = {"server": server, "certificate-authority-data": pem}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "user@it", "context": {"cluster": "it", "user": "user"}}],
        "current-context": "user@it",
    }
    return yaml.safe_dump(document)


def _named(entries: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _pem(kubeconfig: Path, entry: Mapping[str, str], key: str) -> str:
    """Return what stands in *entry*, or in the file that it names."""
    if data := entry.get(f"{key}-data"):
        return base64.b64decode(data).decode()
    named = entry.get(key)
    return (kubeconfig.parent / named).read_text() if named else ""


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
