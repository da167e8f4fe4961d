"""Where the artifacts are that a ``mlflow://`` URI names. Reading them is the store's part."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from agent.artifact_uri import ArtifactUri
from agent.artifacts.http.client import Service
from agent.artifacts.mlflow import server
from agent.errors import NotFound, Unsupported

_WASB = re.compile(r"wasbs?://([^/@]+@[^/.]+)\.blob\.(core\.[^/]+(?:/.*)?)", re.DOTALL)
MOST_REFERENCES = 4
"""A model version may stand for a run, or a logged model; none of them leads back."""


@dataclass(frozen=True, slots=True)
class Root:
    """The root of some artifacts, as MLflow writes it, and how the server hands them out itself.

    *file* and *level* are the end points for a file and a level, each with the name of the
    parameter that holds the path; *at* is put before the path of a level.
    """

    text: str
    file: tuple[str, str]
    level: tuple[str, str]
    parameters: Mapping[str, str]
    at: str = ""


@dataclass(frozen=True, slots=True)
class Proxied:
    """Artifacts that the tracking server reads itself, with credentials of its own."""

    root: Root
    path: tuple[str, ...]

    @property
    def file_request(self) -> tuple[str, dict[str, str]]:
        """The end point and parameters to read what is there."""
        endpoint, key = self.root.file
        return endpoint, {**self.root.parameters, key: "/".join(self.path)}

    @property
    def level_request(self) -> tuple[str, dict[str, str]]:
        """The end point and parameters to list what lies directly below."""
        endpoint, key = self.root.level
        path = "/".join(filter(None, (self.root.at, *self.path)))
        return endpoint, {**self.root.parameters, **({key: path} if path else {})}


def locate(service: Service, names: Sequence[str]) -> Proxied | ArtifactUri:
    """Return where ``runs/RUN/PATH``, ``models/NAME/VERSION/PATH`` and their like are. Blocks.

    ``NAME@ALIAS`` and ``NAME/@ALIAS`` name a version too, and ``models/m-ID`` a logged model.

    Raises:
        NotFound: MLflow knows no such thing.
        Unsupported: They are where no agent reads, or the path is none that MLflow takes literally.
    """
    root, path = _named(service, names)
    for _ in range(MOST_REFERENCES):
        kind, _, rest = root.text.partition(":/")
        if kind not in ("runs", "models") or rest.startswith("/"):
            return _place(root, path)
        root, below = _named(service, (kind, *rest.strip("/").split("/")))
        path = (*below, *path)
    raise NotFound(detail="the references lead in a circle")


def _named(service: Service, names: Sequence[str]) -> tuple[Root, tuple[str, ...]]:
    match names:
        case ["runs", run, *path]:
            return _run(service, run), tuple(path)
        case ["models", model, *path] if server.is_logged_model(model):
            return _logged_model(service, model), tuple(path)
        case ["models", name, *path] if "@" in name:
            model, _, alias = name.rpartition("@")
            return _aliased(service, model, alias), tuple(path)
        case ["models", name, version, *path] if version.startswith("@"):
            return _aliased(service, name, version[1:]), tuple(path)
        case ["models", name, version, *path]:
            return _version(service, name, version), tuple(path)
    raise Unsupported("name a run or a model: runs/RUN, models/NAME/VERSION or models/NAME/@ALIAS")


def _run(service: Service, run: str) -> Root:
    text = server.run_root(service, run)
    level = (f"{server.API}/artifacts/list", "path")
    return Root(text, ("/get-artifact", "path"), level, {"run_id": run})


def _logged_model(service: Service, model: str) -> Root:
    text = server.logged_model_root(service, model)
    base = f"/ajax-api/2.0/mlflow/logged-models/{model}/artifacts"
    level = (f"{base}/directories", "artifact_directory_path")
    return Root(text, (f"{base}/files", "artifact_file_path"), level, {})


def _aliased(service: Service, name: str, alias: str) -> Root:
    return _version(service, name, server.version_of_alias(service, name, alias))


def _version(service: Service, name: str, version: str) -> Root:
    """Return the root of a version; a level of it is listed by its place in the server's store."""
    text = server.version_root(service, name, version)
    return Root(
        text,
        ("/model-versions/get-artifact", "path"),
        ("/api/2.0/mlflow-artifacts/artifacts", "path"),
        {"name": name, "version": version},
        at=text.partition(":/")[2].strip("/"),
    )


def _place(root: Root, path: tuple[str, ...]) -> Proxied | ArtifactUri:
    scheme, colon, rest = root.text.partition(":")
    if not colon:
        # What MLflow writes for a directory of its own host.
        scheme, rest = "file", root.text
    if scheme == "mlflow-artifacts":
        return _proxied(root, rest, path)
    if wasb := _WASB.fullmatch(f"{scheme}:{rest}"):
        # The same blobs by the name that the store for Azure has for them.
        scheme, rest = "abfss", f"//{wasb[1]}.dfs.{wasb[2]}"
    if scheme == "file":
        rest = f"//{unquote(rest).removeprefix('//')}"
    try:
        return ArtifactUri.parse("/".join((f"{scheme}:{rest}".rstrip("/"), *path)))
    except ValueError:
        raise Unsupported("the artifacts are where this agent reads none") from None


def _proxied(root: Root, rest: str, path: tuple[str, ...]) -> Proxied:
    segments = (*rest.strip("/").split("/"), *path)
    if rest.startswith("//") or not {"", ".", ".."}.isdisjoint(segments):
        raise Unsupported("the artifacts are not in the tracking server's own store")
    if not (is_literal("/".join(path)) and is_literal("/".join((root.at, *path)))):
        raise Unsupported("MLflow would take this path for another one")
    return Proxied(root, path)


def is_literal(path: str) -> bool:
    """Say whether MLflow takes *path* as it stands.

    It undoes percent-encoding until there is none, and reads paths as URLs on the way: what the
    policy allowed as ``a%2Fb`` would be read from ``a/b``.
    """
    try:
        as_read = urlunsplit(urlsplit(unquote(path)))
    except ValueError:
        return False
    return as_read == path and "#" not in path and not path.startswith("file:")
