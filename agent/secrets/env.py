"""Secrets in environment variables whose names start with a prefix.

Nothing else of the environment is read.
"""

import os
import re

from agent.errors import CredentialUnavailable
from agent.secrets.base import SecretValue, refuse_version
from agent.secrets.fields import text_fields

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class EnvSecretStore:
    """Reads the variable *prefix* + path; members of a JSON object can be named as fields."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    async def read(self, path: str, version: str | None = None) -> SecretValue:
        refuse_version(version)
        name = self._prefix + path
        if not _NAME.fullmatch(path):
            raise CredentialUnavailable(detail=f"{name!r} is not the name of a variable")
        if name not in os.environ:
            raise CredentialUnavailable(detail=f"the environment variable {name} is not set")
        return SecretValue(text_fields(os.environ[name]))

    async def check(self) -> str:
        found = sum(name.startswith(self._prefix) for name in os.environ)
        return f"{found} environment variables start with {self._prefix!r}"

    def forget(self, path: str) -> None:
        """Nothing is kept here."""

    async def close(self) -> None:
        """Nothing is open."""
