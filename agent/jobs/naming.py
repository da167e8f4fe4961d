"""Which artifact a job names, and where its bytes are. Reading them is the kinds' part."""

from dataclasses import dataclass

from agent.artifact_uri import ArtifactUri
from agent.artifacts.base import ArtifactStore, ByteRange, Catalog, Located
from agent.artifacts.stores import ArtifactStores
from agent.errors import AccessDenied, BadParameters, NotFound, PolicyDenied, Unsupported
from agent.guard.policy import PolicyRequest
from agent.jobs.kind import Tools
from agent.telemetry.logs import get_logger

log = get_logger()

MOST_STEPS = 4
"""A catalog may lead to another name of its own, or to another catalog; few do more than once."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes are; *max_bytes* is the policy's limit for the place that a catalog named.

    *catalogued* says that a catalog led there, so that it may be a directory; *beside* are files in
    it that are not the artifact's own.
    """

    uri: ArtifactUri
    store: ArtifactStore
    max_bytes: int | None = None
    catalogued: bool = False
    beside: frozenset[ArtifactUri] = frozenset()


def parse_uri(text: str, artifacts: ArtifactStores) -> ArtifactUri:
    """Return the normal form of a job's URI; MLflow's own ``runs:/`` and ``models:/`` are known.

    Raises:
        BadParameters: It is no URI.
        Unsupported: It is one of MLflow's, and there is not exactly one MLflow server.
    """
    for kind in ("runs", "models"):
        if text.startswith(f"{kind}:/") and not text.startswith(f"{kind}://"):
            return _parsed(f"{only(artifacts, 'mlflow')}/{kind}/{text.partition(':/')[2]}")
    return _parsed(text)


def only(artifacts: ArtifactStores, scheme: str) -> ArtifactUri:
    """Return the root of the one store of *scheme*, for a job that names an artifact by its id.

    Raises:
        Unsupported: There is none, or more than one.
    """
    roots = [root for root in artifacts.roots() if root.scheme == scheme]
    if len(roots) != 1:
        found = "no store" if not roots else "more than one store"
        raise Unsupported(f"{found} of {scheme}:// is configured; name the artifact by its uri")
    return roots[0]


def below(root: ArtifactUri, *parts: str | None) -> ArtifactUri:
    """Return the URI of *parts* below *root*; each may be a path, and None is left out.

    Raises:
        BadParameters: They are no path.
    """
    return _parsed("/".join([str(root), *(part.strip("/") for part in parts if part)]))


async def locate(uri: ArtifactUri, kind: str, tools: Tools) -> Place:
    """Return where the bytes of *uri* are, which the policy has allowed for *kind*.

    A catalog's answer was written by whoever may write to the catalog. So the policy decides about
    it too, and about each answer where one leads to the next, and only a configured store reads it.
    Whether it is outside of all stores or denied looks the same to the control plane.

    Raises:
        NotFound: No store holds it, the catalog does not know it, or its answers have no end.
        PolicyDenied: The policy does not allow *kind* where the bytes are, or on the way there.
    """
    place = Place(uri, tools.artifacts.find(uri))
    for _ in range(MOST_STEPS):
        if not isinstance(place.store, Catalog):
            return place
        located = await place.store.locate(place.uri)
        if located.uri == place.uri:
            return place
        log.info(
            "artifact.located", store=place.store.name, uri=str(place.uri), at=str(located.uri)
        )
        place = _permitted(place, located, kind, tools)
    raise NotFound(detail=f"{uri} leads from catalog to catalog without an end")


async def the_one_file(place: Place, kind: str, tools: Tools) -> Place:
    """Return *place*, or the one file in it when a catalog led to a directory.

    What can be opened is not listed: whoever may read a file need not be allowed to list.

    Raises:
        BadParameters: It has several files of its own, and somebody has to say which.
        PolicyDenied: The policy does not allow *kind* for that file.
    """
    if not place.catalogued or await _is_file(place):
        return place
    try:
        page = await place.store.list(place.uri, page_size=1000, page_token=None)
    except (NotFound, AccessDenied, Unsupported):
        return place
    files = [entry.uri for entry in page.entries if entry.kind == "file"]
    own = [file for file in files if file not in place.beside] or files
    if len(own) != 1 or page.next_token is not None:
        raise BadParameters("the artifact has more than one file; list it, and name one by path")
    return _permitted(place, Located(own[0]), kind, tools)


async def _is_file(place: Place) -> bool:
    """Say whether *place* can be opened, which a catalog is not asked: it may fetch all for it."""
    if isinstance(place.store, Catalog):
        return False
    try:
        async with place.store.open(place.uri, span=ByteRange(0, 0)):
            return True
    except (NotFound, Unsupported):
        return False


def _permitted(place: Place, located: Located, kind: str, tools: Tools) -> Place:
    """Return where *located* is, with the tightest limit of all steps on the way."""
    decision = tools.decide(PolicyRequest(kind, artifact=located.uri))
    if not decision.allowed:
        raise PolicyDenied(detail=f"{place.uri} is at {located.uri}: {decision.why}")
    try:
        store = tools.artifacts.find(located.uri)
    except NotFound:
        detail = f"{place.uri} is at {located.uri}, which no configured store contains"
        raise PolicyDenied(detail=detail) from None
    limits = [limit for limit in (place.max_bytes, decision.max_bytes) if limit is not None]
    return Place(located.uri, store, min(limits, default=None), True, located.beside)


def _parsed(text: str) -> ArtifactUri:
    try:
        return ArtifactUri.parse(text)
    except ValueError as exc:
        raise BadParameters(f"uri: {exc}") from None
