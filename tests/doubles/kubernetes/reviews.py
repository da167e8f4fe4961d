"""Objects that are created to be answered and are not stored: reviews, and tokens of accounts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from tests.doubles.kubernetes.authentication import AUDIENCE, Authentication, InvalidToken, User
from tests.doubles.kubernetes.authorization import Authorization
from tests.doubles.kubernetes.refusals import Cause, bad_request, invalid
from tests.doubles.kubernetes.requests import Asked
from tests.doubles.kubernetes.storage import Object, timestamp

AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"
_HOUR = 3600
_LEAST, _MOST = 600, 2**32

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Review:
    """One kind of question: `answer` takes its spec and the asking user, and gives spec and
    status."""

    group: str
    plural: str
    kind: str
    answer: Callable[[Spec, User], tuple[Spec, Spec]]

    def listed(self) -> dict[str, object]:
        """Return its entry of the discovery document."""
        named = {"name": self.plural, "singularName": "", "namespaced": False}
        return {**named, "kind": self.kind, "verbs": ["create"]}


@dataclass(frozen=True)
class Reviews:
    """Answers every question that this double knows."""

    authentication: Authentication
    authorization: Authorization

    def table(self) -> list[Review]:
        ours = [Review(AUTHENTICATION, "tokenreviews", "TokenReview", self._token)]
        if self.authorization.self_subject_review:
            ours.append(Review(AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview", _oneself))
        self_access = ("selfsubjectaccessreviews", "SelfSubjectAccessReview")
        self_rules = ("selfsubjectrulesreviews", "SelfSubjectRulesReview")
        return [
            *ours,
            Review(AUTHORIZATION, *self_access, self._own_access),
            Review(AUTHORIZATION, *self_rules, self._own_rules),
            Review(AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview", self._access),
        ]

    def token_of(self, account: Object, spec: Spec) -> tuple[Spec, Spec]:
        """Issue a token of *account*; returns spec and status of the TokenRequest."""
        seconds = spec.get("expirationSeconds") or _HOUR
        if fault := _faulty_life(seconds):
            raise invalid(AUTHENTICATION, "TokenRequest", "", [fault])
        audiences = spec.get("audiences") or [AUDIENCE]
        token = self.authentication.token(account, audiences, seconds)
        end = self.authentication.storage.now() + timedelta(seconds=seconds)
        given = {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": None}
        return given, {"token": token, "expirationTimestamp": timestamp(end)}

    def _token(self, spec: Spec, _user: User) -> tuple[Spec, Spec]:
        if not spec.get("token"):
            raise bad_request("token is required for TokenReview in authentication")
        audiences = spec.get("audiences") or [AUDIENCE]
        try:
            user, meant = self.authentication.user_of_token(spec["token"], audiences)
        except InvalidToken as refusal:
            return spec, {"user": {}, "error": str(refusal)}
        return spec, {"authenticated": True, "user": user.shown(), "audiences": meant}

    def _own_access(self, spec: Spec, user: User) -> tuple[Spec, Spec]:
        return self._reviewed(spec, user)

    def _access(self, spec: Spec, _user: User) -> tuple[Spec, Spec]:
        groups = [*spec.get("groups", ()), "system:authenticated"]
        return self._reviewed(spec, User(spec["user"], groups))

    def _reviewed(self, spec: Spec, user: User) -> tuple[Spec, Spec]:
        wanted = spec.get("resourceAttributes")
        if wanted is None:
            cause = Cause.invalid(
                "spec.resourceAttributes",
                '"null"',
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
            raise invalid(AUTHORIZATION, "", "", [cause])
        why = self.authorization.granted(user, _asked(wanted))
        shown = {key: value for key, value in wanted.items() if value}
        status = {"allowed": why is not None} | ({"reason": why} if why else {})
        return {**spec, "resourceAttributes": shown}, status

    def _own_rules(self, spec: Spec, user: User) -> tuple[Spec, Spec]:
        granted = self.authorization.rules(user, spec["namespace"])
        paths = self.authorization.paths(user)
        status = {
            "resourceRules": [rule for rule, _ in granted],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": one} for one in paths],
            "incomplete": False,
        }
        return {}, status


def _oneself(_spec: Spec, user: User) -> tuple[Spec, Spec]:
    return {}, {"userInfo": user.shown()}


def _asked(wanted: Spec) -> Asked:
    names = ("verb", "group", "version", "resource", "namespace", "name", "subresource")
    given = {name: wanted[name] for name in names if name in wanted}
    return replace(Asked(verb="", path=""), **given)


def _faulty_life(seconds: int) -> Cause | None:
    field = "spec.expirationSeconds"
    if seconds < _LEAST:
        why = "may not specify a duration less than 10 minutes"
        return Cause.invalid(field, str(seconds), why)
    if seconds > _MOST:
        why = "may not specify a duration larger than 2^32 seconds"
        return Cause.invalid(field, str(seconds), why)
    return None
