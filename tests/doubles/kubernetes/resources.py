"""The table of what is stored: names, verbs, and what each kind of object has to look like."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.doubles.kubernetes.refusals import Cause
from tests.doubles.kubernetes.secret_rules import complete_secret, faults_of_secret, kept_of_secret
from tests.doubles.kubernetes.storage import Object
from tests.doubles.kubernetes.workload_rules import (
    complete_event,
    complete_job,
    complete_pod,
    faults_of_job,
    kept_of_job,
)

RBAC = "rbac.authorization.k8s.io"
_VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"

Faults = Iterable[Cause]


@dataclass(frozen=True)
class Subresource:
    """Something below an object that is not stored by itself, as a token."""

    name: str
    kind: str
    group: str = ""
    version: str = ""
    verbs: Sequence[str] = ("create",)


@dataclass(frozen=True)
class Resource:
    """One kind of object. *complete* fills in what the server adds, *faults* finds what is wrong,
    *kept* what may not change from the old object to the new one."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: Sequence[str] = ()
    subresources: Sequence[Subresource] = ()
    path_like_names: bool = False
    delete_returns_object: bool = False
    default_propagation: str = "Background"
    complete: Callable[[Object], None] = lambda _: None
    faults: Callable[[Object], Faults] = lambda _: ()
    kept: Callable[[Object, Object], Faults] = lambda _old, _new: ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def listed(self) -> list[dict[str, object]]:
        """Return its entries of the discovery document."""
        short = {"shortNames": list(self.short_names)} if self.short_names else {}
        own = {"name": self.plural, "singularName": "", "namespaced": self.namespaced}
        below = [
            {
                "name": f"{self.plural}/{one.name}",
                "singularName": "",
                "namespaced": self.namespaced,
                **({"group": one.group, "version": one.version} if one.version else {}),
                "kind": one.kind,
                "verbs": list(one.verbs),
            }
            for one in self.subresources
        ]
        return [{**own, "kind": self.kind, "verbs": list(_VERBS), **short}, *below]

    def faults_of(self, new: Object) -> list[Cause]:
        """Return everything that is wrong with *new*."""
        name = new["metadata"].get("name", "")
        if not name:
            return [Cause.required("metadata.name", "name or generateName is required")]
        return [*self._faults_of_name(name), *self.faults(new)]

    def _faults_of_name(self, name: str) -> Faults:
        if self.path_like_names or re.fullmatch(_SUBDOMAIN, name):
            return
        yield Cause.invalid(
            "metadata.name",
            f'"{name}"',
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character (e.g. "
            f"'example.com', regex used for validation is '{_SUBDOMAIN}')",
        )


def _complete_namespace(new: Object) -> None:
    new["spec"] = {"finalizers": ["kubernetes"]}
    new["status"] = {"phase": "Active"}


def _faults_of_role(new: Object) -> Faults:
    for at, rule in enumerate(new.get("rules") or ()):
        if not rule.get("verbs"):
            yield Cause.required(f"rules[{at}].verbs", "verbs must contain at least one value")


def _kept_of_binding(old: Object, new: Object) -> Faults:
    if old["roleRef"] != new["roleRef"]:
        ref = new["roleRef"]
        go = (
            f'rbac.RoleRef{{APIGroup:"{ref["apiGroup"]}", Kind:"{ref["kind"]}", '
            f'Name:"{ref["name"]}"}}'
        )
        yield Cause.invalid("roleRef", go, "cannot change roleRef")


def _role(plural: str, kind: str, *, namespaced: bool) -> Resource:
    return Resource(
        RBAC, "v1", plural, kind, namespaced, path_like_names=True, faults=_faults_of_role
    )


def _binding(plural: str, kind: str, *, namespaced: bool) -> Resource:
    return Resource(
        RBAC, "v1", plural, kind, namespaced, path_like_names=True, kept=_kept_of_binding
    )


RESOURCES = (
    Resource(
        *("", "v1", "namespaces", "Namespace"),
        namespaced=False,
        short_names=["ns"],
        delete_returns_object=True,
        complete=_complete_namespace,
    ),
    Resource(
        *("", "v1", "secrets", "Secret"),
        complete=complete_secret,
        faults=faults_of_secret,
        kept=kept_of_secret,
    ),
    Resource(
        *("", "v1", "serviceaccounts", "ServiceAccount"),
        short_names=["sa"],
        subresources=[Subresource("token", "TokenRequest", "authentication.k8s.io", "v1")],
        delete_returns_object=True,
    ),
    Resource(
        *("", "v1", "pods", "Pod"),
        short_names=["po"],
        subresources=[
            Subresource("log", "Pod", verbs=["get"]),
            Subresource("binding", "Binding"),
            Subresource("eviction", "Eviction"),
            Subresource("status", "Pod", verbs=["get", "patch"]),
        ],
        delete_returns_object=True,
        complete=complete_pod,
    ),
    Resource(*("", "v1", "events", "Event"), short_names=["ev"], complete=complete_event),
    Resource(
        *("", "v1", "resourcequotas", "ResourceQuota"),
        short_names=["quota"],
        complete=lambda new: new.setdefault("status", {}),
        delete_returns_object=True,
    ),
    Resource(
        *("batch", "v1", "jobs", "Job"),
        default_propagation="Orphan",
        complete=complete_job,
        faults=faults_of_job,
        kept=kept_of_job,
    ),
    _role("roles", "Role", namespaced=True),
    _binding("rolebindings", "RoleBinding", namespaced=True),
    _role("clusterroles", "ClusterRole", namespaced=False),
    _binding("clusterrolebindings", "ClusterRoleBinding", namespaced=False),
)
