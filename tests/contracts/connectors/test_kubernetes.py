"""What every connector promises, asked of each login to a cluster."""

import pytest
import yaml

from agent.clouds.kubernetes.api import secret_of
from agent.config.connectors import KubernetesConnector
from agent.config.secret_stores import FileSecretStore
from agent.connectors.open import open_connectors
from agent.secrets.open import open_secret_stores
from agent.testing.connectors import Case, ConnectorContract

ACCOUNT = "trainer"
MAY_READ = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
STORED = {
    "token": {"token": "secret://files/token"},
    "password": {"username": "secret://files/username", "password": "secret://files/password"},
    "client-certificate": {
        "client_certificate": "secret://files/certificate",
        "client_key": "secret://files/key",
    },
}


@pytest.fixture(scope="module")
def namespace(cluster):
    """One where the account, and the person, may read the Secret ``model``."""
    name = cluster.namespace()
    cluster.account(name, ACCOUNT, MAY_READ)
    cluster.put_secret(name, "model", key="value")
    return name


@pytest.fixture
def files(cluster, namespace, tmp_path):
    """What the login's secrets are kept in."""
    (tmp_path / "token").write_text(cluster.token(namespace, ACCOUNT))
    (tmp_path / "username").write_text(cluster.person)
    (tmp_path / "password").write_text(cluster.password or "")
    certificate, key = cluster.certificate or ("", "")
    (tmp_path / "certificate").write_text(certificate)
    (tmp_path / "key").write_text(key)
    (tmp_path / "ca.crt").write_text(cluster.authority)
    (tmp_path / "namespace").write_text(namespace)
    return tmp_path


@pytest.fixture
async def secrets(files):
    seen = []
    resolver = open_secret_stores(
        {"files": FileSecretStore(type="file", root=files)}, on_secret=seen.append
    )
    resolver.seen = seen
    yield resolver
    await resolver.close()


class TestKubernetes(ConnectorContract):
    """Each method, against the cluster of KUBECONFIG or its double."""

    @pytest.fixture(params=["in-cluster", "kubeconfig", *STORED])
    async def case(self, request, cluster, namespace, files, secrets, monkeypatch):
        method = request.param
        if method == "password" and not cluster.password:
            pytest.skip("real clusters have had no passwords since 1.19")
        if method == "client-certificate" and not cluster.certificate:
            pytest.skip("the kubeconfig has no client certificate")
        options = _options(method, cluster, files, monkeypatch)
        configured = KubernetesConnector(type="kubernetes", method=method, **options)
        (connector,) = open_connectors({"it": configured}, secrets).values()

        async def use(credentials):
            assert {"key": "dmFsdWU="} == await secret_of(credentials, namespace, "model")

        account = f"system:serviceaccount:{namespace}:{ACCOUNT}"
        who = account if method in ("in-cluster", "kubeconfig", "token") else cluster.person
        yield Case(connector, use, secrets.seen, who)
        await connector.close()


def _options(method, cluster, files, monkeypatch):
    if method == "in-cluster":
        _mount(cluster, files, monkeypatch)
        return {}
    if method == "kubeconfig":
        return {"kubeconfig_file": _kubeconfig(cluster, files)}
    place = {"server": cluster.server, "ca_file": files / "ca.crt"}
    return {**place, **STORED[method]}


def _mount(cluster, files, monkeypatch):
    """Let this process look like a pod's; the directory is what a kubelet mounts."""
    host, _, port = cluster.server.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port or "443")
    monkeypatch.setattr("agent.clouds.kubernetes.login.SERVICE_ACCOUNT", files)


def _kubeconfig(cluster, files):
    """One that names files beside it."""
    place = {"server": cluster.server, "certificate-authority": "ca.crt"}
    document = {
        "clusters": [{"name": "c", "cluster": place}],
        "users": [{"name": "u", "user": {"tokenFile": "token"}}],
        "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "it",
    }
    (files / "kubeconfig").write_text(yaml.safe_dump(document))
    return files / "kubeconfig"
