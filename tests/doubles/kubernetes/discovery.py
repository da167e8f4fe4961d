"""What the server says of itself: its version, its health, its groups and resources."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.doubles.kubernetes.refusals import NoSuchPath, no_such_resource
from tests.doubles.kubernetes.resources import Resource
from tests.doubles.kubernetes.reviews import Review

_VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0-double",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}


class Discovery:
    """Documents of all paths outside the resources."""

    def __init__(self, resources: Sequence[Resource], reviews: Sequence[Review]) -> None:
        self._lists: dict[tuple[str, str], list[Mapping[str, object]]] = {}
        for resource in resources:
            listed = self._lists.setdefault((resource.group, resource.version), [])
            listed.extend(resource.listed())
        for review in reviews:
            self._lists.setdefault((review.group, "v1"), []).append(review.listed())

    def has_group(self, group: str) -> bool:
        return any(known == group for known, _ in self._lists)

    def document(self, path: str) -> Mapping[str, Any] | str:
        """Return what stands at *path*, an object or text."""
        segments = path.strip("/").split("/")
        match segments:
            case ["version"]:
                return _VERSION
            case ["livez"] | ["readyz"] | ["healthz"]:
                return "ok"
            case ["api"]:
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
            case ["apis"]:
                groups = [
                    self._group(group) for group in sorted({g for g, _ in self._lists} - {""})
                ]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", group] if self.has_group(group):
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["api", version]:
                return self._list("", version)
            case ["apis", group, version] if self.has_group(group):
                return self._list(group, version)
        raise NoSuchPath

    def _group(self, group: str) -> dict[str, Any]:
        known = [
            {"groupVersion": f"{group}/{version}", "version": version}
            for of, version in self._lists
            if of == group
        ]
        return {"name": group, "versions": known, "preferredVersion": known[0]}

    def _list(self, group: str, version: str) -> dict[str, Any]:
        if (group, version) not in self._lists:
            raise no_such_resource()
        # The oldest group has no apiVersion on its list; all others have.
        about = {"apiVersion": "v1", "groupVersion": f"{group}/{version}"}
        if not group:
            about = {"groupVersion": version}
        resources = sorted(self._lists[group, version], key=lambda one: str(one["name"]))
        return {"kind": "APIResourceList", **about, "resources": resources}
