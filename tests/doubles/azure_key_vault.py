"""A double of Azure Key Vault, as it answers on the wire: by a challenge, then to a token."""

import uuid

from tests.doubles.azure import TENANT, Answer, Asked, Entra

RESOURCE = "https://vault.azure.net"


class KeyVault:
    """Keeps versions of secrets; `forbidden` names those that nobody may read."""

    def __init__(self, entra: Entra) -> None:
        self.entra = entra
        self.resource = RESOURCE
        self.secrets: dict[str, dict[str, str]] = {}
        self.forbidden: set[str] = set()
        self.failure: Answer | None = None
        self.asked: list[Asked] = []

    def put(self, name: str, value: str) -> str:
        """Keep a new version; return its id."""
        version = uuid.uuid4().hex
        self.secrets.setdefault(name, {})[version] = value
        return version

    def answer(self, asked: Asked) -> Answer | None:
        kind, _, rest = asked.path.strip("/").partition("/")
        if kind != "secrets":
            return None
        self.asked.append(asked)
        if not self.entra.accepts(asked, self.resource):
            where = f'authorization="{self.entra.url}/{TENANT}", resource="{self.resource}"'
            return _error(401, "Unauthorized", {"WWW-Authenticate": f"Bearer {where}"})
        if self.failure is not None:
            return self.failure
        name, _, version = rest.partition("/")
        if name in self.forbidden:
            return _error(403, "Forbidden")
        versions = self.secrets.get(name, {})
        version = version or next(reversed(versions), "")
        if version not in versions:
            return _error(404, "SecretNotFound")
        place = f"{self.entra.url}/secrets/{name}/{version}"
        return Answer(200, {"value": versions[version], "id": place, "attributes": {}})


def _error(status: int, code: str, headers: dict[str, str] | None = None) -> Answer:
    body = {"error": {"code": code, "message": "The value was value-of-a-test-secret."}}
    return Answer(status, body, headers or {})
