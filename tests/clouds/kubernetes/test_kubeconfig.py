"""What is read from a kubeconfig, and what in it is refused by name."""

import base64
import copy

import pytest
import yaml

from agent.clouds.kubernetes.kubeconfig import Kubeconfig
from agent.errors import CredentialUnavailable

FILE = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [
        {"name": "prod", "cluster": {"server": "https://prod:6443", "certificate-authority": "ca"}},
        {"name": "test", "cluster": {"server": "https://test:6443"}},
    ],
    "users": [
        {"name": "robot", "user": {"token": "token-of-the-robot"}},
        {"name": "person", "user": {"username": "ann", "password": "password-of-ann"}},
        {
            "name": "machine",
            "user": {
                "client-certificate-data": base64.b64encode(b"certificate").decode(),
                "client-key": "keys/machine",
            },
        },
    ],
    "contexts": [
        {"name": "a", "context": {"cluster": "prod", "user": "robot", "namespace": "ml"}},
        {"name": "b", "context": {"cluster": "test", "user": "person"}},
        {"name": "c", "context": {"cluster": "test", "user": "machine"}},
    ],
    "current-context": "a",
}


@pytest.fixture
def read(tmp_path):
    """Writes a kubeconfig, changed by a function, and reads a context of it."""
    (tmp_path / "ca").write_text("authority")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "machine").write_text("key")
    (tmp_path / "token").write_text("token-of-a-file\n")

    def read_(context=None, *, change=lambda _: None, insecure=False):
        document = copy.deepcopy(FILE)
        change(document)
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(document))
        return Kubeconfig(path, context, insecure).credentials()

    return read_


def test_the_current_context_is_read_with_its_files(read):
    credentials = read()

    assert "https://prod:6443" == credentials.server
    assert "token-of-the-robot" == credentials.token.reveal()
    assert "authority" == credentials.certificate_authority.reveal()
    assert "ml" == credentials.namespace


def test_another_context_is_read_by_its_name(read):
    credentials = read("b")

    assert ("ann", "password-of-ann") == (
        credentials.username.reveal(),
        credentials.password.reveal(),
    )
    assert credentials.token is None


def test_data_and_files_beside_the_kubeconfig_are_taken_alike(read):
    credentials = read("c")

    assert "certificate" == credentials.client_certificate.reveal()
    assert "key" == credentials.client_key.reveal()


def test_a_token_file_comes_before_a_token_as_for_kubectl(read):
    credentials = read(change=lambda file: _user(file).update(tokenFile="token"))

    assert "token-of-a-file" == credentials.token.reveal()


def _user(file):
    return file["users"][0]["user"]


def _cluster(file):
    return file["clusters"][0]["cluster"]


REFUSED = {
    "exec, which the agent refuses: the agent runs no program": lambda file: _user(file).update(
        exec={"command": "aws", "apiVersion": "client.authentication.k8s.io/v1"}
    ),
    "auth-provider, which the agent refuses": lambda file: _user(file).update(
        {"auth-provider": {"name": "oidc"}}
    ),
    "as, which the agent refuses": lambda file: _user(file).update({"as": "cluster-admin"}),
    "proxy-url, which the agent refuses": lambda file: _cluster(file).update(
        {"proxy-url": "http://proxy:3128"}
    ),
    "tls-server-name, which the agent refuses": lambda file: _cluster(file).update(
        {"tls-server-name": "other"}
    ),
    "skips TLS verification; allow it with insecure: true": lambda file: _cluster(file).update(
        {"insecure-skip-tls-verify": True}
    ),
    "not https://": lambda file: _cluster(file).update(server="http://prod:8080"),
    "has no user 'gone'": lambda file: file["contexts"][0]["context"].update(user="gone"),
    "names no context": lambda file: file.pop("current-context"),
    "has no cluster 'prod'": lambda file: file.update(clusters=None),
    "has no credentials for user 'robot'": lambda file: _user(file).clear(),
    "one half": lambda file: _user(file).update({"client-key-data": "a2V5"}),
    "data that is not base64": lambda file: _cluster(file).update(
        {"certificate-authority-data": "%%%"}
    ),
    "No such file": lambda file: _cluster(file).update({"certificate-authority": "gone"}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_it_is_refused_by_name(read, why):
    with pytest.raises(CredentialUnavailable) as failure:
        read(change=REFUSED[why])

    assert why in failure.value.detail
    assert "token-of-the-robot" not in failure.value.detail


def test_what_skips_verification_is_taken_where_the_customer_says_so(read):
    def skip(file):
        _cluster(file)["insecure-skip-tls-verify"] = True

    assert not read(change=skip, insecure=True).verify_tls
    assert read().verify_tls


@pytest.mark.parametrize(
    ("content", "why"),
    [("a: [token-of-the-robot", "is not YAML"), ("- a\n", "is no kubeconfig"), (None, "No such")],
)
def test_what_is_no_kubeconfig_is_not_quoted(tmp_path, content, why):
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)

    with pytest.raises(CredentialUnavailable) as failure:
        Kubeconfig(path).credentials()

    assert why in failure.value.detail
    assert "robot" not in failure.value.detail
