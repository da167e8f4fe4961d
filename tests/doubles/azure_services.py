"""Doubles of what asks Entra who somebody is: Azure Resource Manager, and a container registry."""

import base64
import json
import time
from typing import Any

import yaml

from tests.doubles.azure import Answer, Asked, Entra, jwt

CLUSTER = "/subscriptions/sub-1/resourceGroups/ml/providers/Microsoft.ContainerService"
AKS_SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"
"""The application that every AKS cluster with Entra logins is."""


class ResourceManager:
    """Gives the kubeconfig of one cluster, `prod`, to who has a token for `audience`."""

    def __init__(self, entra: Entra) -> None:
        self.entra = entra
        self.user: dict[str, Any] = {}
        self.server = "https://prod.hcp.example.test:443"

    @property
    def audience(self) -> str:
        """Its own address, as tokens name it."""
        return self.entra.url

    def answer(self, asked: Asked) -> Answer | None:
        if not asked.path.startswith("/subscriptions/"):
            return None
        if not self.entra.accepts(asked, self.audience):
            return Answer(401, {"error": {"code": "InvalidAuthenticationToken"}})
        if asked.path != f"{CLUSTER}/managedClusters/prod/listClusterUserCredential":
            return Answer(404, {"error": {"code": "ResourceNotFound"}})
        config = {
            "clusters": [{"name": "prod", "cluster": {
                "server": self.server, "certificate-authority-data": encoded("the CA")}}],
            "users": [{"name": "user", "user": self.user}],
        }  # fmt: skip
        value = base64.b64encode(yaml.safe_dump(config).encode()).decode()
        return Answer(200, {"kubeconfigs": [{"name": "clusterUser", "value": value}]})


class Registry:
    """Exchanges tokens of Entra for its own, as Azure Container Registry does."""

    audience = "https://containerregistry.azure.net"

    def __init__(self, entra: Entra) -> None:
        self.entra = entra
        self.forms: list[dict[str, str]] = []

    def answer(self, asked: Asked) -> Answer | None:
        if asked.path != "/oauth2/exchange":
            return None
        self.forms.append(dict(asked.form))
        if not self.entra.knows(asked.form.get("access_token", ""), self.audience):
            return Answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        claims = {"aud": asked.form["service"], "exp": int(time.time()) + 3 * 3600}
        return Answer(200, {"refresh_token": jwt(claims)})


def encoded(text: str) -> str:
    """Return *text* as a kubeconfig holds it."""
    return base64.b64encode(text.encode()).decode()


def decoded(token: str) -> dict[str, Any]:
    """Return the claims of a token."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
