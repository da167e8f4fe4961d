"""Where a secret stands, as the configuration writes it: never the secret."""

import re

from pydantic import BaseModel, ConfigDict

_REFERENCE = re.compile(
    r"secret://([A-Za-z0-9][A-Za-z0-9._-]*)/([^?#\s]+)(?:\?version=([^?&#\s]+))?(?:#([^#\s]+))?"
)


class SecretReference(BaseModel):
    """``secret://STORE/PATH?version=VERSION#FIELD``: where a secret stands, never the secret.

    Without a version it is the one that the store gives by itself, the newest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    store: str
    path: str
    version: str | None = None
    field: str | None = None

    @classmethod
    def parse(cls, text: object) -> object:
        """Read the URL form; a value that is not one is refused without being repeated."""
        if not isinstance(text, str):
            return text
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise ValueError(
                "should be a reference such as secret://vault/ml/s3#access_key_id; "
                "a secret itself never stands in the configuration"
            )
        return cls(store=match[1], path=match[2], version=match[3], field=match[4])

    def __str__(self) -> str:
        version = f"?version={self.version}" if self.version else ""
        field = f"#{self.field}" if self.field else ""
        return f"secret://{self.store}/{self.path}{version}{field}"
