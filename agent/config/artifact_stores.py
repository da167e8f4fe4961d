"""Artifact stores: the only places that are read."""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from agent.artifact_uri import ArtifactUri
from agent.config.parts import Name, Part, require_safe_url


class ArtifactStore(Part):
    """A place where artifacts live; every artifact below *uri* is read through it."""

    name: Name
    """For people, logs and check-connector."""
    uri: str
    """As s3://bucket/prefix, gs://, az://container, abfss://, https://host/path or
    file:///directory; no two stores have the same. mlflow://NAME and zenml://NAME stand for the
    server that the connector reaches, under a name of your choice."""
    connector: str | None = None
    """Name of the connector to read with. Required but for https://, which may do without, and
    file://, which takes none."""
    ca_file: Path | None = None
    """For https:// without a connector: PEM file with the private CA of the server."""
    allow_plaintext: bool = False
    """Permit http:// to an address that is not loopback."""

    @model_validator(mode="after")
    def _uri_is_valid(self) -> Self:
        root = ArtifactUri.parse(self.uri)
        if root.scheme in ("http", "https"):
            require_safe_url("uri", self.uri, allow_plaintext=self.allow_plaintext)
        return self

    @property
    def root(self) -> ArtifactUri:
        return ArtifactUri.parse(self.uri)
