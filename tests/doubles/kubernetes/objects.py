"""What is done to stored objects: read, list, create, replace, patch, delete."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.kubernetes import refusals
from tests.doubles.kubernetes.controllers import Controllers
from tests.doubles.kubernetes.refusals import Refusal, Unknown
from tests.doubles.kubernetes.requests import Asked, Request
from tests.doubles.kubernetes.resources import Resource
from tests.doubles.kubernetes.storage import Key, Object, Storage
from tests.doubles.kubernetes.watches import watch

_PRECONDITIONS = {
    "uid": ("UID", "deleted and then recreated"),
    "resourceVersion": ("ResourceVersion", "modified"),
}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")


class HungUp(Exception):
    """The server is gone in the middle of an answer."""


@dataclass(frozen=True)
class Answer:
    """*body* is an object that is sent as JSON, text, nothing, or comes in pieces."""

    status: int
    body: Mapping[str, Any] | str | Iterator[bytes] | None
    headers: Mapping[str, str] = field(default_factory=dict)


class Objects:
    """Each verb of the API is a method; all take the resource, what is asked, and the request."""

    def __init__(self, storage: Storage, controllers: Controllers) -> None:
        self._storage = storage
        self._controllers = controllers
        for name in ("default", "kube-system"):
            storage.create(Key("", "namespaces", "", name), _namespace(name))
            self._default_account(name)

    def get(self, resource: Resource, asked: Asked, _request: Request) -> Answer:
        return Answer(200, self.found(resource, asked))

    def list(self, resource: Resource, asked: Asked, request: Request) -> Answer:
        found = self._storage.list(resource.group, resource.plural, asked.namespace)
        selects = selection(request)
        items = [_without_kind(one) for one in found if selects(one)]
        about = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        version = {"resourceVersion": str(self._storage.revision)}
        return Answer(200, {**about, "metadata": version, "items": items})

    def watch(self, resource: Resource, asked: Asked, request: Request) -> Answer:
        events = watch(self._storage, resource, asked.namespace, selection(request), request.query)
        return Answer(200, events)

    def create(self, resource: Resource, asked: Asked, request: Request) -> Answer:
        if asked.name:
            raise refusals.wrong_method()
        self._require_namespace(resource, asked)
        new = _parsed(resource, request)
        _belongs(new, resource, asked)
        if "resourceVersion" in new["metadata"]:
            message = "resourceVersion should not be set on objects to be created"
            raise Refusal(500, None, message)
        resource.complete(new)
        if faults := resource.faults_of(new):
            raise _invalid(resource, new, faults)
        key = _key(resource, asked, new["metadata"]["name"])
        if self._storage.get(key) is not None:
            raise refusals.already_exists(resource.group, resource.plural, key.name)
        if request.query.get("dryRun"):
            return Answer(201, new)
        created = self._storage.create(key, new)
        if resource.plural == "namespaces":
            self._default_account(key.name)
        return Answer(201, created)

    def update(self, resource: Resource, asked: Asked, request: Request) -> Answer:
        old = self.found(resource, asked)
        new = _parsed(resource, request)
        _belongs(new, resource, asked)
        name = new["metadata"].get("name")
        if name != asked.name:
            raise refusals.bad_request(
                f"the name of the object ({name}) does not match the name on the URL ({asked.name})"
            )
        return self._changed(resource, asked, old, new)

    def patch(self, resource: Resource, asked: Asked, request: Request) -> Answer:
        kind = request.headers.get("content-type", "")
        if kind != "application/merge-patch+json":
            raise Unknown(f"patches of type {kind}")
        old = self.found(resource, asked)
        new = _merged(copy.deepcopy(old), json.loads(request.body))
        return self._changed(resource, asked, old, new)

    def _changed(self, resource: Resource, asked: Asked, old: Object, new: Object) -> Answer:
        given, kept = new["metadata"], old["metadata"]
        if given.get("resourceVersion", kept["resourceVersion"]) != kept["resourceVersion"]:
            raise refusals.conflict(resource.group, resource.plural, asked.name)
        for name in ("uid", "resourceVersion", "creationTimestamp"):
            given[name] = kept[name]
        resource.complete(new)
        if faults := [*resource.faults_of(new), *resource.kept(old, new)]:
            raise _invalid(resource, new, faults)
        return Answer(200, self._storage.replace(_key(resource, asked, asked.name), new))

    def delete(self, resource: Resource, asked: Asked, request: Request) -> Answer:
        found = self.found(resource, asked)
        key = _key(resource, asked, asked.name)
        options = _options(request)
        _require_preconditions(resource, found, options)
        if options.get("dryRun"):
            return self._removed(resource, asked, found)
        if resource.plural == "pods":
            return Answer(200, self._controllers.delete_pod(key, options.get("gracePeriodSeconds")))
        policy = options.get("propagationPolicy", resource.default_propagation)
        if policy not in ("Background", "Foreground", "Orphan"):
            raise _no_such_policy(policy)
        if resource.plural == "jobs" and policy != "Background":
            finalizer = "foregroundDeletion" if policy == "Foreground" else "orphan"
            return Answer(200, self._controllers.mark(key, found, finalizer))
        self._storage.remove(key)
        if resource.plural == "namespaces":
            self._storage.remove_all(asked.name)
            found["status"] = {"phase": "Terminating"}
        return self._removed(resource, asked, found)

    def _removed(self, resource: Resource, asked: Asked, found: Object) -> Answer:
        if resource.delete_returns_object:
            return Answer(200, found)
        details = refusals.about(resource.group, resource.plural, asked.name)
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Answer(200, {**done, "details": details | {"uid": found["metadata"]["uid"]}})

    def found(self, resource: Resource, asked: Asked) -> Object:
        found = self._storage.get(_key(resource, asked, asked.name))
        if found is None:
            raise refusals.not_found(resource.group, resource.plural, asked.name)
        return found

    def _require_namespace(self, resource: Resource, asked: Asked) -> None:
        namespace = Key("", "namespaces", "", asked.namespace)
        if resource.namespaced and self._storage.get(namespace) is None:
            raise refusals.not_found("", "namespaces", asked.namespace)

    def _default_account(self, namespace: str) -> None:
        """Do what the controller of service accounts does in each new namespace."""
        meta = {"name": "default", "namespace": namespace}
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": meta}
        self._storage.create(Key("", "serviceaccounts", namespace, "default"), account)


def _parsed(resource: Resource, request: Request) -> Object:
    try:
        new: Object = json.loads(request.body)
    except ValueError:
        shown = request.body.decode() or "<empty>"
        raise refusals.bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get "
            f"version/kind; json parse error: unexpected end of JSON input ({shown})"
        ) from None
    # Official clients leave out both where the path says as much.
    new = {"kind": resource.kind, "apiVersion": resource.api_version, **new}
    if (new["kind"], new["apiVersion"]) != (resource.kind, resource.api_version):
        version = new["apiVersion"].rpartition("/")[2]
        raise refusals.bad_request(
            f'{new["kind"]} in version "{version}" cannot be handled as a {resource.kind}'
        )
    return {**new, "metadata": dict(new.get("metadata") or {})}


def _belongs(new: Object, resource: Resource, asked: Asked) -> None:
    """Put *new* into the namespace of the path, where it does not name another one."""
    if not resource.namespaced:
        return
    if new["metadata"].setdefault("namespace", asked.namespace) != asked.namespace:
        raise refusals.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _key(resource: Resource, asked: Asked, name: str) -> Key:
    namespace = asked.namespace if resource.namespaced else ""
    return Key(resource.group, resource.plural, namespace, name)


def _invalid(resource: Resource, new: Object, faults: list[refusals.Cause]) -> Refusal:
    return refusals.invalid(resource.group, resource.kind, new["metadata"].get("name", ""), faults)


def _merged(old: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def selection(request: Request) -> Callable[[Object], bool]:
    """Return what tells the objects that the selectors of *request* mean."""
    labels = [one for one in request.query.get("labelSelector", "").split(",") if one]
    fields = [one for one in request.query.get("fieldSelector", "").split(",") if one]
    if any("!=" in one or "=" not in one for one in (*labels, *fields)):
        raise Unknown("such selectors")

    def selects(one: Object) -> bool:
        own = one["metadata"].get("labels") or {}
        return all(own.get(key) == value for key, _, value in map(_parts, labels)) and all(
            _field(one, key) == value for key, _, value in map(_parts, fields)
        )

    return selects


def _parts(selector: str) -> tuple[str, str, str]:
    return selector.partition("=")


def _field(one: Any, path: str) -> Any:
    for step in path.split("."):
        one = (one or {}).get(step)
    return one


def _options(request: Request) -> dict[str, Any]:
    given = json.loads(request.body) if request.body else {}
    for name in ("propagationPolicy", "dryRun"):
        if name in request.query:
            given[name] = request.query[name]
    return dict(given)


def _require_preconditions(resource: Resource, found: Object, options: Mapping[str, Any]) -> None:
    meta = found["metadata"]
    for name, (shown, why) in _PRECONDITIONS.items():
        wanted = (options.get("preconditions") or {}).get(name)
        if wanted is not None and wanted != meta[name]:
            text = (
                f"the {shown} in the precondition ({wanted}) does not match the {shown} in record "
                f"({meta[name]}). The object might have been {why}"
            )
            raise refusals.precondition_failed(resource.group, resource.kind, meta["name"], text)


def _no_such_policy(policy: str) -> Refusal:
    cause = refusals.Cause(
        "FieldValueNotSupported",
        "propagationPolicy",
        f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", '
        '"nil"',
    )
    return refusals.invalid("meta.k8s.io", "DeleteOptions", "", [cause])


def _without_kind(one: Object) -> Object:
    return {key: value for key, value in one.items() if key not in ("kind", "apiVersion")}


def _namespace(name: str) -> Object:
    spec = {"finalizers": ["kubernetes"]}
    about = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
    return {**about, "spec": spec, "status": {"phase": "Active"}}
