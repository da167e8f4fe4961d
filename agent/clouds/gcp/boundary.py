"""What narrows a token to the artifacts that it is for: a credential access boundary.

https://cloud.google.com/iam/docs/downscoping-short-lived-credentials
"""

from collections.abc import Sequence
from typing import Any

from agent.artifact_uri import ArtifactUri

MOST_RULES = 10
"""Google's limit."""

_READ = "inRole:roles/storage.objectViewer"


def boundary(roots: Sequence[ArtifactUri]) -> dict[str, Any]:
    """Return the boundary within which *roots*, and nothing else, can be read and listed."""
    return {"accessBoundary": {"accessBoundaryRules": [_rule(root) for root in roots]}}


def outermost(roots: Sequence[ArtifactUri]) -> list[ArtifactUri]:
    """Return those of *roots* that lie in no other, each once."""
    return [
        root
        for at, root in enumerate(roots)
        if root not in roots[:at]
        and not any(root.within(other) and root != other for other in roots)
    ]


def _rule(root: ArtifactUri) -> dict[str, Any]:
    bucket = f"projects/_/buckets/{root.bucket}"
    rule: dict[str, Any] = {
        "availableResource": f"//storage.googleapis.com/{bucket}",
        "availablePermissions": [_READ],
    }
    if root.segments:
        rule["availabilityCondition"] = {"expression": _condition(bucket, root.key)}
    return rule


def _condition(bucket: str, key: str) -> str:
    """Whole segments are compared: what only begins like the last one lies outside."""
    thing, below = _quoted(f"{bucket}/objects/{key}"), _quoted(f"{bucket}/objects/{key}/")
    listed = "api.getAttribute('storage.googleapis.com/objectListPrefix', '')"
    return (
        f"resource.name == {thing} || resource.name.startsWith({below}) || "
        f"{listed}.startsWith({_quoted(f'{key}/')})"
    )


def _quoted(text: str) -> str:
    """Return *text* as a string of the Common Expression Language; it has no backslashes."""
    return "'" + text.replace("'", "\\'") + "'"
