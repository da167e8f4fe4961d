"""What logins to a cluster do with rotated and refused credentials, and whom they trust."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from pydantic import ValidationError

from agent.clouds.kubernetes.api import user_of
from agent.clouds.kubernetes.subject import expiry, subject_of
from agent.config.connectors import KubernetesConnector
from agent.config.secret_stores import FileSecretStore
from agent.connectors.open import open_connectors
from agent.credentials import KubernetesCredentials
from agent.egress import guard
from agent.errors import AccessDenied, CredentialUnavailable, StoreUnavailable, UsageError
from agent.secret import Secret
from agent.secrets.open import open_secret_stores
from tests.doubles.kubernetes.objects import Answer
from tests.doubles.kubernetes.server import serving
from tests.servers.kubernetes import double_of_cluster
from tests.servers.processes import free_port
from tests.servers.tls import CertificateAuthority


@pytest.fixture
def namespace(cluster):
    name = cluster.namespace()
    cluster.account(name, "trainer")
    return name


@pytest.fixture
async def connect(cluster, tmp_path):
    """Opens the connector of a method; secrets are files of the test's directory."""
    (tmp_path / "ca.crt").write_text(cluster.authority)
    secrets = open_secret_stores(
        {"files": FileSecretStore(type="file", root=tmp_path, cache="1h")}, on_secret=lambda _: None
    )
    opened = []

    def open_(method="token", **options):
        if method == "token":
            place = {"server": cluster.server, "ca_file": tmp_path / "ca.crt"}
            options = {**place, "token": "secret://files/token", **options}
        configured = KubernetesConnector(type="kubernetes", method=method, **options)
        opened.extend(open_connectors({"it": configured}, secrets).values())
        return opened[-1]

    yield open_
    for connector in opened:
        await connector.close()
    await secrets.close()


async def test_a_token_tells_its_end(cluster, connect, namespace, tmp_path):
    (tmp_path / "token").write_text(cluster.token(namespace, "trainer"))

    identity = await connect().identity()

    assert f"system:serviceaccount:{namespace}:trainer" == identity.name
    left = identity.expires_at - datetime.now(UTC)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)


async def test_a_mounted_token_that_was_rotated_is_read_again(
    cluster, connect, namespace, tmp_path, monkeypatch
):
    """A kubelet swaps the file; the next refusal, or a minute, has it read."""
    _mount(cluster, tmp_path, monkeypatch)
    (tmp_path / "token").write_text(cluster.token(namespace, "trainer")[:-8] + "AAAAAAAA")
    (tmp_path / "namespace").write_text(namespace)
    connector = connect("in-cluster")
    first = await connector.credentials()

    (tmp_path / "token").write_text(cluster.token(namespace, "trainer"))

    assert (await connector.identity()).name.endswith(":trainer")
    assert first != await connector.credentials()


async def test_a_mounted_token_is_read_again_without_a_refusal(
    cluster, connect, namespace, tmp_path, monkeypatch
):
    monkeypatch.setattr("agent.clouds.kubernetes.login.REREAD_EVERY", timedelta(0))
    _mount(cluster, tmp_path, monkeypatch)
    (tmp_path / "token").write_text(cluster.token(namespace, "trainer"))
    (tmp_path / "namespace").write_text(namespace)
    connector = connect("in-cluster")
    first = await connector.credentials()

    (tmp_path / "token").write_text(cluster.token(namespace, "trainer"))

    assert first != await connector.credentials()


async def test_outside_a_pod_in_cluster_says_so(connect, monkeypatch, tmp_path):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("agent.clouds.kubernetes.login.SERVICE_ACCOUNT", tmp_path / "nothing")

    with pytest.raises(CredentialUnavailable, match="could not obtain") as failure:
        await connect("in-cluster").credentials()

    assert "does the pod mount its service account's token?" in failure.value.detail


async def test_a_token_that_is_refused_is_refused_by_name(cluster, connect, namespace, tmp_path):
    token = cluster.token(namespace, "trainer")
    (tmp_path / "token").write_text(token[:-8] + "AAAAAAAA")

    with pytest.raises(AccessDenied) as failure:
        await connect().identity()

    assert f"{cluster.server} answered 401" == failure.value.detail


async def test_an_expired_token_is_told_from_a_wrong_one(cluster):
    end = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    credentials = replace(_credentials(cluster, "old"), expires_at=end)

    with pytest.raises(AccessDenied) as failure:
        await user_of(credentials)

    assert failure.value.detail.endswith("401; the credentials expired at 2020-01-02 03:04:05 UTC")


async def test_a_cluster_that_tells_no_names_is_asked_whether_it_lets_us_in(
    certificate_authority, tmp_path
):
    """As those before 1.28; the name is then the one that the credentials claim."""
    with double_of_cluster(certificate_authority, tmp_path, self_subject_review=False) as old:
        name = old.namespace()
        old.account(name, "trainer")
        good = _credentials(old, old.token(name, "trainer"))

        assert f"system:serviceaccount:{name}:trainer" == await user_of(good)
        with pytest.raises(AccessDenied):
            await user_of(_credentials(old, "no-token-of-this-cluster"))


async def test_who_shows_nothing_is_not_let_in(cluster):
    """An API server takes such a request for one of an anonymous user."""
    with pytest.raises(AccessDenied):
        await user_of(
            KubernetesCredentials(cluster.server, certificate_authority=Secret(cluster.authority))
        )


async def test_a_server_of_another_ca_gets_no_token(cluster, tmp_path):
    other = CertificateAuthority(tmp_path, name="Other CA")
    credentials = KubernetesCredentials(
        cluster.server,
        token=Secret("token"),
        certificate_authority=Secret(other.ca_file.read_text()),
    )

    with pytest.raises(StoreUnavailable) as failure:
        await user_of(credentials)

    assert f"the certificate of {cluster.server} is not trusted; name its CA" == (
        failure.value.detail
    )


async def test_insecure_trusts_any_server(cluster, connect, namespace, tmp_path):
    (tmp_path / "token").write_text(cluster.token(namespace, "trainer"))

    connector = connect(ca_file=None, insecure=True)

    assert (await connector.identity()).name.endswith(":trainer")


async def test_a_server_that_is_down_is_said_so():
    server = f"https://127.0.0.1:{free_port()}"

    with pytest.raises(StoreUnavailable) as failure:
        await user_of(KubernetesCredentials(server, token=Secret("token")))

    assert f"{server} did not answer: Connect call failed" in failure.value.detail


async def test_no_redirect_is_followed(certificate_authority):
    class Redirecting:
        def __init__(self) -> None:
            self.paths = set()

        def answer(self, request):
            self.paths.add(request.path)
            return Answer(302, "", {"Location": "/elsewhere"})

    api = Redirecting()
    with serving(api, certificate_authority) as server:
        authority = Secret(certificate_authority.ca_file.read_text())
        credentials = KubernetesCredentials(
            server, token=Secret("token"), certificate_authority=authority
        )
        with pytest.raises(StoreUnavailable) as failure:
            await user_of(credentials)

    assert failure.value.detail.endswith("answered 302")
    assert "/elsewhere" not in api.paths


async def test_no_server_is_a_metadata_service():
    guard()
    credentials = KubernetesCredentials("https://169.254.169.254", token=Secret("token"))

    with pytest.raises(StoreUnavailable) as failure:
        await user_of(credentials)

    assert "refused to connect to 169.254.169.254: a metadata service" in failure.value.detail


async def test_passwords_of_a_netrc_are_not_looked_for(
    cluster, connect, namespace, tmp_path, monkeypatch
):
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "token").write_text(cluster.token(namespace, "trainer"))

    assert (await connect().identity()).name.endswith(":trainer")


async def test_proxies_of_the_environment_are_used(
    cluster, connect, namespace, tmp_path, monkeypatch
):
    (tmp_path / "token").write_text(cluster.token(namespace, "trainer"))
    proxy = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")

    with pytest.raises(StoreUnavailable) as failure:
        await connect().identity()
    assert f"('127.0.0.1', {proxy})" in failure.value.detail
    monkeypatch.setenv("NO_PROXY", cluster.server.removeprefix("https://").partition(":")[0])
    assert (await connect().identity()).name.endswith(":trainer")


@pytest.mark.parametrize("part", ["certificate", "key"])
async def test_a_certificate_that_is_none_is_said_so(connect, tmp_path, part, cluster):
    certificate, key = CertificateAuthority(tmp_path).issue("somebody")
    (tmp_path / "certificate").write_text(certificate.read_text())
    (tmp_path / "key").write_text(key.read_text())
    (tmp_path / part).write_text("no PEM")
    connector = connect(
        "client-certificate",
        server=cluster.server,
        client_certificate="secret://files/certificate",
        client_key="secret://files/key",
    )

    with pytest.raises(CredentialUnavailable) as failure:
        await connector.identity()

    assert "client certificate and key are not PEM text" in failure.value.detail


def test_a_certificate_tells_whose_it_is_and_its_end(tmp_path):
    life = timedelta(days=3)
    certificate, _ = CertificateAuthority(tmp_path).issue("somebody", life=life)
    pem = Secret(certificate.read_text())

    assert abs(expiry(None, pem) - datetime.now(UTC) - life) < timedelta(minutes=1)
    assert "somebody" == subject_of(KubernetesCredentials("", client_certificate=pem))


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "e30.e30.e30", "e30.eyJleHAiOjFlOTl9.x"])
def test_a_token_that_is_no_jwt_has_no_known_end(token):
    assert expiry(Secret(token), None) is None


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"method": "token", "server": "https://a"}, "needs token"),
        ({"server": "https://a"}, "server: is of no use with method in-cluster"),
        ({"insecure": True}, "insecure: is of no use with method in-cluster"),
        (
            {"method": "kubeconfig", "kubeconfig_file": "/k", "token": "secret://a/b"},
            "token: is of no use with method kubeconfig",
        ),
        (
            {"method": "token", "server": "http://a", "token": "secret://a/b"},
            "use https://",
        ),
    ],
)
def test_settings_that_do_not_fit_the_method_are_refused(options, why):
    with pytest.raises(ValidationError, match=why):
        KubernetesConnector(type="kubernetes", **options)


def test_a_missing_library_is_named_with_its_extra(connect, monkeypatch):
    monkeypatch.setattr("agent.clouds.kubernetes.open.find_spec", lambda _: None)

    with pytest.raises(UsageError, match=r"connector it: type kubernetes needs the extra"):
        connect()


def test_the_library_is_not_loaded_before_it_is_needed(tmp_path):
    """Reading credentials needs none of it; only asking a cluster does."""
    script = """
import asyncio, json, sys
from agent.config.connectors import KubernetesConnector
from agent.connectors.open import open_connectors
from agent.secrets.open import open_secret_stores

async def main():
    secrets = open_secret_stores({}, on_secret=lambda _: None)
    options = {"method": "kubeconfig", "kubeconfig_file": sys.argv[1]}
    configured = {"it": KubernetesConnector(type="kubernetes", **options)}
    (connector,) = open_connectors(configured, secrets).values()
    await connector.credentials()
    print(json.dumps([name in sys.modules for name in ("kubernetes_asyncio", "aiohttp")]))

asyncio.run(main())
"""
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://a"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(document))

    shown = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "config")], capture_output=True, check=True
    )

    assert [False, False] == json.loads(shown.stdout)


def _mount(cluster, directory, monkeypatch):
    host, _, port = cluster.server.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port or "443")
    monkeypatch.setattr("agent.clouds.kubernetes.login.SERVICE_ACCOUNT", directory)


def _credentials(cluster, token):
    return KubernetesCredentials(
        cluster.server,
        token=Secret(token),
        certificate_authority=Secret(cluster.authority),
    )
