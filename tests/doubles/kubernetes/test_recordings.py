"""The double of Kubernetes answers as the real API server did whose exchanges were recorded."""

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.doubles.kubernetes import replay
from tests.doubles.kubernetes.api import KubernetesApi
from tests.doubles.kubernetes.authentication import ADMIN, Authentication, User
from tests.doubles.kubernetes.replay import ACCESS, Exchange, Replay, exchanges
from tests.doubles.kubernetes.resources import RESOURCES
from tests.doubles.kubernetes.storage import Key, Storage
from tests.doubles.kubernetes.watches import watch

BOOTSTRAP = "01-bootstrap"
JOBS = next(one for one in RESOURCES if one.plural == "jobs")
BEGIN = datetime.now(UTC)
RECORDINGS = {
    "02-discovery": 10,
    "13-who-may-what": 50,
    "15-service-secret-configmap": 13,
    "19-official-client": 4,
    "22-no-anonymous": 5,
}
"""How many exchanges of each file the double has a notion of."""

_NOT_CHECKED = "the double takes what a server refuses"
_NOT_CUT = "the double cuts nothing out of objects, and shows them in one form"
_NO_PATCH = "it knows merge patches alone"
_NO_QUOTAS = "of quotas it knows that on pods alone, and no limit ranges"
_NO_KUBELET = "its kubelet is always there"
_STAND_IN = "these are the words of the stand-in"
_NO_OTHERS = "it has no deployments, budgets and events.k8s.io"
WORK = {
    "03-job-create": (
        34,
        {
            "create with generateName": "the double gives no names",
            "create with dryRun=All": _NOT_CUT,
            "unknown fields are dropped silently": _NOT_CUT,
            "unknown field with fieldValidation=Strict": _NOT_CUT,
            "invalid: name of 254 characters": _NOT_CHECKED,
            "invalid: restartPolicy of no known value": _NOT_CHECKED,
            "invalid: container name": _NOT_CHECKED,
            "invalid: label value": _NOT_CHECKED,
            "invalid: label key": _NOT_CHECKED,
            "invalid: environment variable name": _NOT_CHECKED,
            "invalid: value and valueFrom": _NOT_CHECKED,
            "invalid: request over limit": _NOT_CHECKED,
            "invalid: volume mount without volume": _NOT_CHECKED,
            "invalid: own selector": _NOT_CHECKED,
            "content type that is not supported": _NOT_CHECKED,
            "no acceptable representation": _NOT_CHECKED,
            "body over the limit of 3 MiB": _NOT_CHECKED,
            "annotations over 256 KiB": _NOT_CHECKED,
            "patch: the template is immutable": _NO_PATCH,
            "patch: content type that is no patch": _NO_PATCH,
            "patch: JSON patch whose test fails": _NO_PATCH,
            "put whose name differs from the path": _NOT_CHECKED,
        },
    ),
    "06-job-succeeds": (
        16,
        {
            "scheduler reports event Scheduled": _NO_OTHERS,
            "events of the pod": _NO_OTHERS,
            "events of the pod by events.k8s.io": _NO_OTHERS,
            "list jobs that succeeded": _NOT_CUT,
        },
    ),
    "07-job-fails": (28, {}),
    "08-pod-stays-pending": (
        24,
        {
            "scheduler reports event FailedScheduling": _NO_OTHERS,
            "kubelet counts the repeated event": _NO_PATCH,
            "events of that pod": _NO_PATCH,
            "warnings only": _NO_OTHERS,
        },
    ),
    "09-job-without-pods": (
        7,
        {
            "/resourcequotas/": _NO_QUOTAS,
            "create job over the quota of jobs": _NO_QUOTAS,
            "why: event FailedCreate (limit range)": _NO_QUOTAS,
        },
    ),
    "10-job-deadline": (13, {}),
    "11-job-delete": (
        50,
        {
            "delete a selection": "it deletes one at a time",
            "delete with another resourceVersion": "the answer names a version nobody was shown",
        },
    ),
    "12-pod-log": (
        17,
        {
            "no kubelet answers": _NO_KUBELET,
            "no kubelet answers, follow": _NO_KUBELET,
            "the pod's node is gone": _NO_KUBELET,
            "log": _STAND_IN,
            "log with accept: application/json": _STAND_IN,
            "log with timestamps and tailLines": _STAND_IN,
        },
    ),
    "17-eviction": (
        11,
        {
            "/pods/serve-": _NO_OTHERS,
            "find the pod of deployment serve": _NO_OTHERS,
        },
    ),
}
"""For Jobs and their pods: how many exchanges are answered alike, and which are not, and why."""


class Recorded:
    """A double as the bootstrap left the recorded server, and the tokens of those who ask."""

    def __init__(self, *, anonymous: bool = True) -> None:
        self.storage = Storage()
        tokens = {"admin-token": ADMIN, "nobody-token": User("nobody")}
        self.authentication = Authentication(self.storage, tokens, anonymous=anonymous)
        # The recorded server is older than SelfSubjectReview.
        api = KubernetesApi(self.storage, self.authentication, self_subject_review=False)
        self.replay = Replay(api, self.token)

    def token(self, who: str) -> str | None:
        match who:
            case "anonymous":
                return None
            case "kubelet" | "scheduler":
                return "admin-token"
            case "admin" | "nobody":
                return f"{who}-token"
            case "agent":
                return self.of_agent(3600)
            case "agent, expired":
                return self.of_agent(-1)
            case "agent, forged":
                return self.of_agent(3600)[:-4] + "AAAA"
            case "agent, audience vault" | "deleted account":
                return self.replay.received[f"<token:{who}>"]
        return "garbage"

    def of_agent(self, seconds: int) -> str:
        account = self.storage.get(Key("", "serviceaccounts", "mlops", "cloud-agent"))
        return self.authentication.token(account, ["https://kubernetes.default.svc"], seconds)

    def play(
        self, recording: str, resources: Collection[str] = ACCESS, without: Collection[str] = ()
    ) -> tuple[int, list[str]]:
        """Replay it at its own times; returns how many exchanges, and every difference.

        *without* has names of exchanges, and parts of their paths.
        """
        played = [one for one in exchanges(recording, resources) if not _is_in(one, without)]
        return len(played), [found for one in played for found in self._differences(one)]

    def _differences(self, one: Exchange) -> list[str]:
        now = BEGIN + timedelta(milliseconds=one["at_ms"])
        self.storage.now = lambda: now
        self.replay.api.controllers.reconcile()
        return self.replay.differences(one)


def recorded_watches(recording: str, since: str) -> Iterator[Exchange]:
    """Yield those from the version *since* on, but for those of metadata alone."""
    for line in (replay.RECORDINGS / f"{recording}.jsonl").read_text().splitlines():
        one = json.loads(line)
        query = one["request"]["query"]
        partial = "PartialObject" in one["request"]["headers"].get("accept", "")
        if query.get("watch") and query.get("resourceVersion") == since and not partial:
            yield one


def _is_in(one: Exchange, names: Collection[str]) -> bool:
    path = one["request"]["path"]
    return one["name"] in names or any("/" in name and name in path for name in names)


def test_the_bootstrap_is_answered_alike():
    assert (16, []) == Recorded().play(BOOTSTRAP)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_a_recording_is_answered_alike(recording):
    """Status, reason, details with causes, messages, and the fields of objects."""
    recorded = Recorded(anonymous=recording != "22-no-anonymous")
    recorded.play(BOOTSTRAP)
    recorded.replay.received |= {
        "<token:agent>": recorded.of_agent(3600),
        "<token:expired>": recorded.of_agent(-1),
        "<token:forged signature>": recorded.of_agent(3600)[:-4] + "AAAA",
    }

    assert (RECORDINGS[recording], []) == recorded.play(recording)


@pytest.mark.parametrize("recording", WORK)
def test_the_work_of_jobs_is_answered_alike(recording):
    """With what kubelet and scheduler reported there, the controllers of the double do the same."""
    recorded = Recorded()
    recorded.play(BOOTSTRAP)
    number, unlike = WORK[recording]

    assert (number, []) == recorded.play(recording, replay.WORK, unlike)


def test_watches_tell_the_same():
    """Type and object of each event, and the bookmark at the end; nothing of a second's order."""
    recorded = Recorded()
    recorded.play(BOOTSTRAP)
    recorded.play("05-watch", replay.WORK, {"change a job outside the selection"})

    watched = 0
    for one in recorded_watches("05-watch", since="323"):
        told = recorded.replay.watched(one)
        assert replay.events_of(one) == told, one["name"]
        watched += 1
    assert 4 == watched


def test_a_watch_from_what_is_forgotten_is_told_so():
    recorded = Recorded()
    recorded.play(BOOTSTRAP)
    recorded.storage.compact()

    told = list(watch(recorded.storage, JOBS, "mlops", lambda _: True, {"resourceVersion": "1"}))

    (event,) = (json.loads(line) for line in told)
    assert ("ERROR", 410, "Expired") == (
        event["type"],
        event["object"]["code"],
        event["object"]["reason"],
    )
