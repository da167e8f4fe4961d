"""Builds logins to Kubernetes clusters from settings."""

from importlib.util import find_spec
from typing import assert_never

from agent.clouds.base import SecretSource
from agent.clouds.kubernetes.kubeconfig import Kubeconfig
from agent.clouds.kubernetes.login import (
    FromKubeconfig,
    InCluster,
    KubernetesLogin,
    Method,
    Place,
    Stored,
)
from agent.config import clouds as config
from agent.errors import UsageError
from agent.secret_reference import SecretReference

_KEPT_IN_STORES = (
    "certificate_authority",
    "token",
    "username",
    "password",
    "client_certificate",
    "client_key",
)


def open_kubernetes_login(
    what: str, name: str, kubernetes: config.KubernetesLogin, secrets: SecretSource
) -> KubernetesLogin:
    """Return the login that *kubernetes* describes; does no I/O, loads no SDK.

    *what* is the kind of part that has the *name*, for messages.

    Raises:
        UsageError: The client library is not installed.
    """
    if find_spec("kubernetes_asyncio") is None:
        raise UsageError(
            f"{what} {name}: type kubernetes needs the extra kubernetes: "
            "pip install 'cloud-agent[kubernetes]'"
        )
    label = name if what == "connector" else f"{what} {name}"
    return KubernetesLogin(label, _method(kubernetes, secrets), secrets)


def _method(kubernetes: config.KubernetesLogin, secrets: SecretSource) -> Method:
    match kubernetes.method:
        case "in-cluster":
            return InCluster()
        case "kubeconfig":
            assert kubernetes.kubeconfig_file is not None
            return FromKubeconfig(
                Kubeconfig(kubernetes.kubeconfig_file, kubernetes.context, kubernetes.insecure)
            )
        case "token" | "password" | "client-certificate":
            place = Place(
                kubernetes.server or "", kubernetes.ca_file, verify_tls=not kubernetes.insecure
            )
            return Stored(secrets, _references(kubernetes), place)
    assert_never(kubernetes.method)


def _references(kubernetes: config.KubernetesLogin) -> dict[str, SecretReference]:
    named = {name: getattr(kubernetes, name) for name in _KEPT_IN_STORES}
    return {name: reference for name, reference in named.items() if reference is not None}
