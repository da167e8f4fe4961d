"""What every secret store promises, asked of the Secrets of a namespace."""

import pytest

from agent.config.secret_stores import FileSecretStore, KubernetesSecrets
from agent.secrets.open import open_secret_stores
from agent.testing.secret_stores import VALUE, Case, SecretStoreContract
from tests.servers.processes import free_port

MAY_READ = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]


@pytest.fixture(scope="module")
def namespace(cluster):
    """One where an account may read all Secrets."""
    name = cluster.namespace()
    cluster.account(name, "reader", MAY_READ)
    return name


class TestKubernetesSecrets(SecretStoreContract):
    """By the API of the cluster that KUBECONFIG names, or of its double."""

    @pytest.fixture
    async def case(self, cluster, namespace, tmp_path):
        token = cluster.token(namespace, "reader")
        (tmp_path / "token").write_text(token)
        (tmp_path / "refused").write_text(token[:-8] + "AAAAAAAA")
        (tmp_path / "ca.crt").write_text(cluster.authority)
        good = {
            "type": "kubernetes",
            "method": "token",
            "namespace": namespace,
            "server": cluster.server,
            "ca_file": tmp_path / "ca.crt",
            "token": "secret://files/token",
        }
        configured = {
            "files": FileSecretStore(type="file", root=tmp_path),
            "it": KubernetesSecrets(**good),
            "down": KubernetesSecrets(**good | {"server": f"https://127.0.0.1:{free_port()}"}),
            "refused": KubernetesSecrets(**good | {"token": "secret://files/refused"}),
        }
        resolver = open_secret_stores(configured, on_secret=lambda _: None)

        def put(value: str) -> None:
            cluster.put_secret(namespace, "warehouse", key=value)

        put(VALUE)
        store, down, refused = (resolver._stores[name].store for name in ("it", "down", "refused"))
        yield Case(store, "warehouse", put, hidden=[token], unreachable=down, refused=refused)
        await resolver.close()
