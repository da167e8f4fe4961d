"""What is allowed: roles and their bindings, read from storage, and the few every server has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tests.doubles.kubernetes.authentication import User
from tests.doubles.kubernetes.refusals import Refusal, about, forbidden_path
from tests.doubles.kubernetes.requests import Asked
from tests.doubles.kubernetes.resources import RBAC
from tests.doubles.kubernetes.storage import Key, Object, Storage

Rule = Mapping[str, Any]

_PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_DISCOVERY = ["/api", "/api/*", "/apis", "/apis/*"]
_SCHEMA = ["/openapi", "/openapi/*"]
_ISSUER = ["/.well-known/openid-configuration", "/openid/v1/jwks"]
_PATHS_OF_GROUPS = (
    ("system:authenticated", [*_DISCOVERY, "/healthz", "/livez", *_SCHEMA, *_PUBLIC[2:]]),
    ("system:authenticated", _PUBLIC),
    ("system:unauthenticated", _PUBLIC),
    ("system:serviceaccounts", _ISSUER),
)
_REVIEWS = {
    "verbs": ["create"],
    "apiGroups": ["authorization.k8s.io"],
    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
}
_SELF_REVIEW = {
    "verbs": ["create"],
    "apiGroups": ["authentication.k8s.io"],
    "resources": ["selfsubjectreviews"],
}


@dataclass
class Authorization:
    """Says whether a user may do what was asked, and by which binding."""

    storage: Storage
    self_subject_review: bool = True

    def require(self, user: User, asked: Asked) -> None:
        """Refuse what *user* may not do, whether it exists or not."""
        if not asked.resource:
            if not self.may_reach(user, asked.verb, asked.path):
                raise forbidden_path(user.name, asked.verb, asked.path)
        elif self.granted(user, asked) is None:
            raise _forbidden(user, asked)

    def may_reach(self, user: User, verb: str, path: str) -> bool:
        if "system:masters" in user.groups:
            return True
        patterns = [pattern for patterns in self.paths(user) for pattern in patterns]
        return verb == "get" and any(fnmatchcase(path, pattern) for pattern in patterns)

    def granted(self, user: User, asked: Asked) -> str | None:
        """Return why it is allowed, an empty text where nobody says why; None when it is not."""
        if "system:masters" in user.groups:
            return ""
        return next(
            (why for rule, why in self.rules(user, asked.namespace) if _covers(rule, asked)), None
        )

    def rules(self, user: User, namespace: str) -> Iterator[tuple[Rule, str]]:
        """Yield what *user* may do in *namespace*, each rule with the reason it holds."""
        if "system:authenticated" in user.groups:
            yield _REVIEWS, ""
            if self.self_subject_review:
                yield _SELF_REVIEW, ""
        for binding in self.storage.list(RBAC, "clusterrolebindings"):
            yield from self._bound(user, binding, "")
        if namespace:
            for binding in self.storage.list(RBAC, "rolebindings", namespace):
                yield from self._bound(user, binding, namespace)

    def paths(self, user: User) -> list[Sequence[str]]:
        """Return patterns of what *user* may get outside the API, one list for each role."""
        return [paths for group, paths in _PATHS_OF_GROUPS if group in user.groups]

    def _bound(self, user: User, binding: Object, namespace: str) -> Iterator[tuple[Rule, str]]:
        for subject in binding.get("subjects", ()):
            if _is(user, subject, namespace):
                ref = binding["roleRef"]
                role = self._role(ref, namespace)
                why = _reason(binding, ref, subject, namespace)
                yield from ((rule, why) for rule in (role or {}).get("rules") or ())

    def _role(self, ref: Mapping[str, str], namespace: str) -> Object | None:
        if ref["kind"] == "ClusterRole":
            return self.storage.get(Key(RBAC, "clusterroles", "", ref["name"]))
        return self.storage.get(Key(RBAC, "roles", namespace, ref["name"]))


def _is(user: User, subject: Mapping[str, str], namespace: str) -> bool:
    match subject["kind"]:
        case "ServiceAccount":
            home = subject.get("namespace") or namespace
            return user.name == f"system:serviceaccount:{home}:{subject['name']}"
        case "Group":
            return subject["name"] in user.groups
    return user.name == subject["name"]


def _reason(binding: Object, ref: Rule, subject: Rule, namespace: str) -> str:
    where = f"{binding['metadata']['name']}/{namespace}" if namespace else ref["name"]
    home = f"/{subject['namespace']}" if subject.get("namespace") else ""
    return (
        f'RBAC: allowed by {binding["kind"]} "{where}" of {ref["kind"]} "{ref["name"]}" '
        f'to {subject["kind"]} "{subject["name"]}{home}"'
    )


def _covers(rule: Rule, asked: Asked) -> bool:
    names = rule.get("resourceNames")
    return (
        _any(rule.get("verbs"), asked.verb)
        and _any(rule.get("apiGroups"), asked.group)
        and _any(rule.get("resources"), asked.full_resource)
        and (not names or asked.name in names)
    )


def _any(allowed: Sequence[str] | None, wanted: str) -> bool:
    return allowed is not None and ("*" in allowed or wanted in allowed)


def _forbidden(user: User, asked: Asked) -> Refusal:
    what = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    named = f' "{asked.name}"' if asked.name else ""
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    message = (
        f'{what}{named} is forbidden: User "{user.name}" cannot {asked.verb} resource '
        f'"{asked.full_resource}" in API group "{asked.group}" {where}'
    )
    details = about(asked.group, asked.resource, asked.name)
    return Refusal(403, "Forbidden", message, details)
