"""Reads the kubeconfig that Azure Resource Manager gives for an AKS cluster. Runs no program."""

import base64
from collections.abc import Mapping
from typing import Any

from agent.errors import CredentialUnavailable
from agent.secret import Secret


def parse_answer(answer: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the cluster and the user of the kubeconfig that the Resource Manager answered with.

    Raises:
        CredentialUnavailable: There is none, or its server is not reached by TLS.
    """
    import yaml

    try:
        config = yaml.safe_load(base64.b64decode(answer["kubeconfigs"][0]["value"]))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        if str(cluster["server"]).startswith("https://"):
            return dict(cluster), dict(user)
    except (KeyError, IndexError, TypeError, ValueError, yaml.YAMLError):
        pass
    raise CredentialUnavailable(detail="the Resource Manager answered without a kubeconfig")


def entra_server(user: Mapping[str, Any]) -> str | None:
    """Return the application that a cluster is to Entra; None where it has logins of its own."""
    provider = user.get("auth-provider")
    if isinstance(provider, dict) and isinstance(provider.get("config"), dict):
        return str(provider["config"].get("apiserver-id"))
    arguments = user["exec"].get("args") if isinstance(user.get("exec"), dict) else None
    if isinstance(arguments, list) and "--server-id" in arguments[:-1]:
        return str(arguments[arguments.index("--server-id") + 1])
    return None


def decoded(entry: Mapping[str, Any], key: str) -> Secret | None:
    """Return what *entry* has in base64 under *key*.

    Raises:
        CredentialUnavailable: It is not base64.
    """
    value = entry.get(key)
    if value is None:
        return None
    try:
        return Secret(base64.b64decode(str(value), validate=True).decode())
    except ValueError:
        raise CredentialUnavailable(detail=f"the kubeconfig's {key} is not base64") from None
