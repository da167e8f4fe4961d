"""Where the artifacts are that a ``mlflow://`` URI names. Reading them is the store's part."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote, urlsplit, urlunsplit

from agent.artifact_uri import ArtifactUri
from agent.artifacts.http.client import Service
from agent.artifacts.mlflow import server
from agent.errors import NotFound, Unsupported

_WASB = re.compile(r"wasbs?://([^/@]+@[^/.]+)\.blob\.(core\.[^/]+(?:/.*)?)", re.DOTALL)
_MEANS_MORE = re.compile(r"[%?#;]")
MOST_OWNERS = 4
"""How many runs are asked about for a path with as many directories called ``artifacts``."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """Artifacts of a run or logged model that the server reads itself, with its own credentials.

    *kind* and *id* are the only name that they are read by.
    """

    kind: str
    id: str
    path: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Their canonical name in a ``mlflow://`` URI."""
        return (self.kind, self.id, *self.path)

    @property
    def file_request(self) -> tuple[str, dict[str, str]]:
        """The end point and parameters to read what is there."""
        path = "/".join(self.path)
        if self.kind == "runs":
            return "/get-artifact", {"run_id": self.id, "path": path}
        return f"{self._model}/files", {"artifact_file_path": path}

    @property
    def level_request(self) -> tuple[str, dict[str, str]]:
        """The end point and parameters to list what lies directly below."""
        path = "/".join(self.path)
        if self.kind == "runs":
            parameters = {"run_id": self.id, **({"path": path} if path else {})}
            return f"{server.API}/artifacts/list", parameters
        return f"{self._model}/directories", {"artifact_directory_path": path} if path else {}

    @property
    def _model(self) -> str:
        return f"/ajax-api/2.0/mlflow/logged-models/{self.id}/artifacts"


def locate(service: Service, uri: ArtifactUri) -> Proxied | ArtifactUri:
    """Return where ``runs/RUN/PATH``, ``models/NAME/VERSION/PATH`` and their like are. Blocks.

    ``NAME@ALIAS`` and ``NAME/@ALIAS`` name a version too, and ``models/m-ID`` a logged model. Only
    one step is made: what MLflow calls by another name of its own, or keeps for another run, is at
    that name's URI, so that whoever follows can ask the policy about it. `Proxied` is nothing but
    what *uri* names itself.

    Raises:
        NotFound: MLflow knows no such thing.
        Unsupported: They are where no agent reads, or the path is none that MLflow takes literally,
            or no run and no logged model owns what the server would read itself.
    """
    root, path = _named(service, uri.segments)
    scheme, colon, rest = root.partition(":")
    if scheme in ("runs", "models") and colon and not rest.startswith("//"):
        named = _parsed(uri, "/".join((scheme, rest.strip("/"), *path)))
        if named == uri:
            raise NotFound(detail="the reference leads to itself")
        return named
    if scheme != "mlflow-artifacts" or not colon:
        return _elsewhere(root, path)
    place = _proxied(service, rest, path)
    return place if place.names == uri.segments else _parsed(uri, "/".join(place.names))


def _named(service: Service, names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the root of what *names* begin with, as MLflow writes it, and the path below."""
    match names:
        case ["runs", run, *path]:
            return server.run_root(service, run), tuple(path)
        case ["models", model, *path] if server.is_logged_model(model):
            return server.logged_model_root(service, model), tuple(path)
        case ["models", name, *path] if "@" in name:
            model, _, alias = name.rpartition("@")
            return _aliased(service, model, alias), tuple(path)
        case ["models", name, version, *path] if version.startswith("@"):
            return _aliased(service, name, version[1:]), tuple(path)
        case ["models", name, version, *path]:
            return server.version_root(service, name, version), tuple(path)
    raise Unsupported("name a run or a model: runs/RUN, models/NAME/VERSION or models/NAME/@ALIAS")


def _aliased(service: Service, name: str, alias: str) -> str:
    return server.version_root(service, name, server.version_of_alias(service, name, alias))


def _parsed(uri: ArtifactUri, names: str) -> ArtifactUri:
    try:
        return ArtifactUri.parse(f"{uri.scheme}://{uri.bucket}/{names}")
    except ValueError:
        raise Unsupported("MLflow says that the artifacts are at a name that is none") from None


def _elsewhere(root: str, path: tuple[str, ...]) -> ArtifactUri:
    scheme, colon, rest = root.partition(":")
    if not colon:
        # What MLflow writes for a directory of its own host.
        scheme, rest = "file", root
    if wasb := _WASB.fullmatch(f"{scheme}:{rest}"):
        # The same blobs by the name that the store for Azure has for them.
        scheme, rest = "abfss", f"//{wasb[1]}.dfs.{wasb[2]}"
    if scheme == "file":
        rest = f"//{unquote(rest).removeprefix('//')}"
    try:
        return ArtifactUri.parse("/".join((f"{scheme}:{rest}".rstrip("/"), *path)))
    except ValueError:
        raise Unsupported("the artifacts are where this agent reads none") from None


def _proxied(service: Service, rest: str, path: tuple[str, ...]) -> Proxied:
    segments = (*rest.strip("/").split("/"), *path)
    outside = rest.startswith("//") or not {"", ".", ".."}.isdisjoint(segments)
    if outside or _MEANS_MORE.search(rest):
        raise Unsupported("the artifacts are not in the tracking server's own store")
    if not (is_literal("/".join(path)) and is_literal("/".join(segments))):
        raise Unsupported("MLflow would take this path for another one")
    return _owned(service, segments)


def _owned(service: Service, segments: tuple[str, ...]) -> Proxied:
    """Return whose artifacts lie at *segments* of the server's own store.

    Who is an owner says the server, and of two the outer one counts: what lies in a run's
    directory is the run's, whoever else has put a root there.

    Raises:
        Unsupported: They are nobody's. There is no name that a policy could have denied them by.
    """
    for end in islice(_ends_of_roots(segments), MOST_OWNERS):
        name = segments[end - 2]
        kind = "models" if server.is_logged_model(name) else "runs"
        try:
            root, _ = _named(service, (kind, name))
        except NotFound:
            continue
        if root.rstrip("/") == "mlflow-artifacts:/" + "/".join(segments[:end]):
            return Proxied(kind, name, segments[end:])
    raise Unsupported("no run and no logged model has these artifacts of the tracking server")


def _ends_of_roots(segments: tuple[str, ...]) -> Iterator[int]:
    for end in range(2, len(segments) + 1):
        if segments[end - 1] == "artifacts":
            yield end


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
