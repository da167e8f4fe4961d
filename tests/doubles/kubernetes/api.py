"""Decides on one request: who, whether allowed, and what is done. No socket is known here."""

import json
import threading
from collections.abc import Iterator
from typing import Any

from tests.doubles.kubernetes import refusals
from tests.doubles.kubernetes.authentication import Authentication, User
from tests.doubles.kubernetes.authorization import Authorization
from tests.doubles.kubernetes.controllers import Controllers
from tests.doubles.kubernetes.discovery import Discovery
from tests.doubles.kubernetes.objects import VERBS, Answer, HungUp, Objects
from tests.doubles.kubernetes.pod_logs import PodLogs
from tests.doubles.kubernetes.pods import LOG_PARAMETERS, Pods
from tests.doubles.kubernetes.refusals import NoSuchPath, Refusal, Unknown
from tests.doubles.kubernetes.requests import Asked, Request, understood
from tests.doubles.kubernetes.resources import RESOURCES, Resource
from tests.doubles.kubernetes.reviews import Review, Reviews
from tests.doubles.kubernetes.storage import Storage

_KNOWN_PARAMETERS = {
    "fieldSelector",
    "labelSelector",
    "verbose",
    "pretty",
    "timeout",
    "dryRun",
    "fieldManager",
    "fieldValidation",
    "propagationPolicy",
}
_OF_WATCHES = {"watch", "resourceVersion", "timeoutSeconds", "allowWatchBookmarks"}


class KubernetesApi:
    """Answers requests one after the other; safe to call from many threads."""

    def __init__(
        self,
        storage: Storage,
        authentication: Authentication,
        *,
        self_subject_review: bool = True,
    ) -> None:
        self.storage = storage
        self.controllers = Controllers(storage)
        self.logs = PodLogs()
        self._pods = Pods(storage, self.controllers, self.logs)
        self._objects = Objects(storage, self.controllers)
        self._authentication = authentication
        self._authorization = Authorization(storage, self_subject_review)
        self._reviews = Reviews(authentication, self._authorization)
        self._discovery = Discovery(RESOURCES, self._reviews.table())
        self.down = threading.Event()
        """While it is set, nobody gets an answer, and open ones break."""

    def answer(self, request: Request) -> Answer | None:
        """Return what a server would send, None while it is down; never raises."""
        if self.down.is_set():
            return None
        with self.storage.lock:
            try:
                answer = self._decided(request)
            except Refusal as refusal:
                return Answer(refusal.status, refusal.body)
            except NoSuchPath:
                return Answer(404, "404 page not found\n")
            except Unknown as what:
                return Answer(501, f"this double of Kubernetes does not know {what}\n")
            self.controllers.reconcile()
        if isinstance(answer.body, Iterator):
            return Answer(answer.status, self._breakable(answer.body), answer.headers)
        return answer

    def _breakable(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self.down.is_set():
                raise HungUp
            yield piece

    def close(self) -> None:
        """Answer nobody any more, and end what is being read."""
        self.down.set()
        self.logs.break_off()
        with self.storage.lock:
            self.storage.lock.notify_all()

    def _decided(self, request: Request) -> Answer:
        asked = understood(request)
        user = self._authentication.user(request)
        self._authorization.require(user, asked)
        if not asked.resource:
            return Answer(200, self._discovery.document(asked.path))
        _require_known(request, asked)
        for review in self._reviews.table():
            if (review.group, review.plural) == (asked.group, asked.resource):
                return self._review(review, asked, request, user)
        resource = self._resource(asked)
        if asked.subresource:
            return self._subresource(resource, asked, request)
        if asked.verb not in VERBS:
            raise refusals.wrong_method()
        answer: Answer = getattr(self._objects, asked.verb)(resource, asked, request)
        return answer

    def _resource(self, asked: Asked) -> Resource:
        if not self._discovery.has_group(asked.group):
            raise NoSuchPath
        for resource in RESOURCES:
            if (resource.group, resource.version, resource.plural) == (
                asked.group,
                asked.version,
                asked.resource,
            ):
                return resource
        raise refusals.no_such_resource()

    def _review(self, review: Review, asked: Asked, request: Request, user: User) -> Answer:
        if asked.verb != "create" or asked.name:
            raise refusals.wrong_method()
        body = json.loads(request.body)
        spec, status = review.answer(body.get("spec", {}), user)
        return _answered(review.group, review.kind, spec, status)

    def _subresource(self, resource: Resource, asked: Asked, request: Request) -> Answer:
        below = [one for one in resource.subresources if one.name == asked.subresource]
        if not below:
            raise refusals.no_such_resource()
        if asked.verb not in below[0].verbs:
            raise refusals.wrong_method()
        found = self._objects.found(resource, asked)
        if resource.plural == "pods":
            answer: Answer = getattr(self._pods, asked.subresource)(found, request)
            return answer
        spec, status = self._reviews.token_of(found, json.loads(request.body).get("spec", {}))
        return _answered(below[0].group, below[0].kind, spec, status)


def _require_known(request: Request, asked: Asked) -> None:
    known = _KNOWN_PARAMETERS
    if asked.verb == "watch":
        known = known | _OF_WATCHES
    if asked.subresource == "log":
        known = known | LOG_PARAMETERS
    if unknown := request.query.keys() - known:
        raise Unknown(f"the parameters {', '.join(sorted(unknown))}")


def _answered(group: str, kind: str, spec: Any, status: Any) -> Answer:
    about = {"kind": kind, "apiVersion": f"{group}/v1", "metadata": {"creationTimestamp": None}}
    return Answer(201, {**about, "spec": spec, "status": status})
