"""One request, and what its path and method ask for in the words of the API."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class Request:
    """What came over the wire; *certificate_name* is the common name of the client's certificate.

    Names of *headers* are in lower case.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    certificate_name: str | None = None


@dataclass(frozen=True)
class Asked:
    """A verb on a resource, or on a *path* outside the API when *resource* is empty."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def full_resource(self) -> str:
        """With the subresource, as roles name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def understood(request: Request) -> Asked:
    """Take the request apart as a server does before it knows whether there is such a thing."""
    segments = [segment for segment in request.path.split("/") if segment]
    match segments:
        case ["api", version, *rest] if rest:
            return _of_resource(request, "", version, rest)
        case ["apis", group, version, *rest] if rest:
            return _of_resource(request, group, version, rest)
    return Asked(request.method.lower(), request.path)


def _of_resource(request: Request, group: str, version: str, rest: list[str]) -> Asked:
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        rest = rest[2:] or rest
    resource, name, subresource = (*rest, "", "", "")[:3]
    selected = request.query.get("fieldSelector", "")
    verb = _verb(request, name)
    if verb in ("list", "watch") and selected.startswith("metadata.name="):
        name = selected.partition("=")[2]
    return Asked(verb, request.path, group, version, resource, namespace, name, subresource)


def _verb(request: Request, name: str) -> str:
    if request.method in ("GET", "HEAD"):
        if request.query.get("watch", "").lower() in ("true", "1"):
            return "watch"
        return "get" if name else "list"
    if request.method == "DELETE":
        return "delete" if name else "deletecollection"
    return _VERBS.get(request.method, request.method.lower())
