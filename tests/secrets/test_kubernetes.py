"""What is said of Secrets of a namespace that are missing, forbidden, or no text."""

import pytest

from agent.config.secret_stores import FileSecretStore, KubernetesSecrets
from agent.errors import CredentialUnavailable
from agent.secret_reference import SecretReference
from agent.secrets.open import open_secret_stores


def _may_read(*names):
    named = {"resourceNames": list(names)} if names else {}
    return [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], **named}]


@pytest.fixture
def namespace(cluster):
    name = cluster.namespace()
    cluster.account(name, "one", _may_read("warehouse"))
    cluster.account(name, "all", _may_read())
    cluster.account(name, "none")
    cluster.put_secret(name, "warehouse", user="reader", password="pw", blob=b"\xff\xfe")
    return name


@pytest.fixture
async def secrets(cluster, namespace, tmp_path):
    """A store for each account, by its name."""
    (tmp_path / "ca.crt").write_text(cluster.authority)
    stores = {"files": FileSecretStore(type="file", root=tmp_path)}
    for name in ("one", "all", "none"):
        (tmp_path / name).write_text(cluster.token(namespace, name))
        stores[name] = KubernetesSecrets(
            type="kubernetes",
            method="token",
            server=cluster.server,
            ca_file=tmp_path / "ca.crt",
            token=f"secret://files/{name}",
            namespace=namespace,
        )
    resolver = open_secret_stores(stores, on_secret=lambda _: None)
    yield resolver
    await resolver.close()


async def _resolved(secrets, reference):
    return (await secrets.resolve(SecretReference.parse(reference))).reveal()


async def _refusal(secrets, reference):
    with pytest.raises(CredentialUnavailable) as failure:
        await _resolved(secrets, reference)
    return failure.value.detail


async def test_the_keys_of_a_secret_are_its_fields(secrets):
    assert "reader" == await _resolved(secrets, "secret://one/warehouse#user")
    assert "pw" == await _resolved(secrets, "secret://one/warehouse#password")


async def test_the_only_key_needs_no_name(secrets, cluster, namespace):
    cluster.put_secret(namespace, "single", token="it")

    assert "it" == await _resolved(secrets, "secret://all/single")


async def test_a_key_that_is_no_text_hides_no_other(secrets):
    assert "reader" == await _resolved(secrets, "secret://all/warehouse#user")

    why = await _refusal(secrets, "secret://all/warehouse#blob")

    assert "the key blob of Secret warehouse is not UTF-8 text" == why


async def test_a_missing_secret_is_told_from_a_missing_right(secrets, namespace):
    missing = await _refusal(secrets, "secret://all/nothing")
    forbidden = await _refusal(secrets, "secret://one/nothing")

    assert f"no such secret: nothing in namespace {namespace}" == missing
    assert f"missing right: get secrets nothing in namespace {namespace}" == forbidden


async def test_a_missing_key_is_told_with_those_that_are_there(secrets):
    why = await _refusal(secrets, "secret://one/warehouse#gone")

    assert "it has: blob, password, user" in why


@pytest.mark.parametrize("path", ["ml/s3", "../../namespaces", "Upper", "a" * 254])
async def test_what_names_no_secret_is_not_asked_for(secrets, path):
    assert f"{path!r} is not the name of a Secret" == await _refusal(
        secrets, f"secret://all/{path}"
    )


async def test_check_tells_which_may_be_read(secrets, namespace):
    assert f"may get all Secrets of namespace {namespace}" == await secrets.check("all")
    assert f"may get the Secrets warehouse of namespace {namespace}" == await secrets.check("one")
    with pytest.raises(CredentialUnavailable) as failure:
        await secrets.check("none")
    assert failure.value.detail.startswith(f"missing right: get secrets in namespace {namespace}")


async def test_a_secret_that_was_found_refused_is_read_again(secrets, cluster, namespace):
    """As after a rotation, within the time that a value is kept."""
    reference = SecretReference.parse("secret://one/warehouse#password")
    await secrets.resolve(reference)
    cluster.put_secret(namespace, "warehouse", password="rotated")

    secrets.invalidate(reference)

    assert "rotated" == (await secrets.resolve(reference)).reveal()


async def test_the_namespace_of_the_login_is_the_default(cluster, namespace, tmp_path, monkeypatch):
    host, _, port = cluster.server.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port or "443")
    monkeypatch.setattr("agent.clouds.kubernetes.login.SERVICE_ACCOUNT", tmp_path)
    (tmp_path / "token").write_text(cluster.token(namespace, "all"))
    (tmp_path / "ca.crt").write_text(cluster.authority)
    (tmp_path / "namespace").write_text(namespace)
    resolver = open_secret_stores(
        {"it": KubernetesSecrets(type="kubernetes")}, on_secret=lambda _: None
    )

    assert "reader" == await _resolved(resolver, "secret://it/warehouse#user")
    await resolver.close()
