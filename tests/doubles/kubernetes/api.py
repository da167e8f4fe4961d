"""Decides on one request: who, whether allowed, and what is done. No socket is known here."""

import json
import re
import threading
from typing import Any

from tests.doubles.kubernetes import refusals
from tests.doubles.kubernetes.authentication import Authentication, User
from tests.doubles.kubernetes.authorization import Authorization
from tests.doubles.kubernetes.discovery import Discovery
from tests.doubles.kubernetes.objects import VERBS, Answer, Objects
from tests.doubles.kubernetes.refusals import NoSuchPath, Refusal, Unknown
from tests.doubles.kubernetes.requests import Asked, Request, understood
from tests.doubles.kubernetes.resources import RESOURCES, Resource
from tests.doubles.kubernetes.reviews import Review, Reviews
from tests.doubles.kubernetes.storage import Storage

_KNOWN_PARAMETERS = {"fieldSelector", "verbose", "pretty", "timeout"}


class KubernetesApi:
    """Answers requests one after the other; safe to call from many threads."""

    def __init__(
        self,
        storage: Storage,
        authentication: Authentication,
        *,
        self_subject_review: bool = True,
    ) -> None:
        self._objects = Objects(storage)
        self._authentication = authentication
        self._authorization = Authorization(storage, self_subject_review)
        self._reviews = Reviews(authentication, self._authorization)
        self._discovery = Discovery(RESOURCES, self._reviews.table())
        self._one_at_a_time = threading.Lock()

    def answer(self, request: Request) -> Answer:
        """Return what a server would send; never raises."""
        with self._one_at_a_time:
            try:
                return self._decided(request)
            except Refusal as refusal:
                return Answer(refusal.status, refusal.body)
            except NoSuchPath:
                return Answer(404, "404 page not found\n")
            except Unknown as what:
                return Answer(501, f"this double of Kubernetes does not know {what}\n")

    def _decided(self, request: Request) -> Answer:
        asked = understood(request)
        user = self._authentication.user(request)
        self._authorization.require(user, asked)
        if not asked.resource:
            return Answer(200, self._discovery.document(asked.path))
        _require_known(request)
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
        if asked.verb != "create":
            raise refusals.wrong_method()
        account = self._objects.found(resource, asked)
        spec, status = self._reviews.token_of(account, json.loads(request.body).get("spec", {}))
        return _answered(below[0].group, below[0].kind, spec, status)


def _require_known(request: Request) -> None:
    if request.query.get("watch", "").lower() in ("true", "1"):
        raise Unknown("watches")
    selector = request.query.get("fieldSelector", "")
    if selector and not re.fullmatch(r"metadata\.name=[^,]+", selector):
        raise Unknown(f"the field selector {selector}")
    if unknown := request.query.keys() - _KNOWN_PARAMETERS:
        raise Unknown(f"the parameters {', '.join(sorted(unknown))}")


def _answered(group: str, kind: str, spec: Any, status: Any) -> Answer:
    about = {"kind": kind, "apiVersion": f"{group}/v1", "metadata": {"creationTimestamp": None}}
    return Answer(201, {**about, "spec": spec, "status": status})
