"""Puts recorded requests to the double and compares what it answers with what a server did.

The rules are those of the recordings: what a server makes up, as uids, versions and times, is
compared for presence only.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.doubles.kubernetes.api import KubernetesApi
from tests.doubles.kubernetes.objects import Answer
from tests.doubles.kubernetes.requests import Request, understood

RECORDINGS = Path(__file__).parent / "recordings"
ACCESS = {
    "namespaces",
    "secrets",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "tokenreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "subjectaccessreviews",
}
WORK = {*ACCESS, "jobs", "pods", "events", "resourcequotas"}
_OUTSIDE = re.compile(
    r"/(version/?|livez|readyz|healthz|metrics|api|apis|api/v1"
    r"|apis/(authentication|authorization)\.k8s\.io/v1|apis/nothing\.example\.com/v1)"
)
_MADE_UP = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "expirationTimestamp",
    "storageVersionHash",
    "serverAddressByClientCIDRs",
}
_NOT_COMPARED = {
    "managedFields",
    "annotations",  # servers since 1.27 add none to pods
    "secrets",  # the token Secret of an account; servers since 1.24 make none
}
_PLACEHOLDER = re.compile(r"<token:[^>]+>")
_KNOWN = re.compile(
    r"<token:[^>]+>|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z0-9-]+-[a-z0-9]{5}\b|\b\d{3}\b"
)
"""What may stand for something that the double made up, as uids, names and versions."""
_GENERATED = re.compile(r"\.[0-9a-f]{16}$|(?<=-)[a-z0-9]{5}(?=\")")
"""Ends of names that nothing else was known by."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

_LONG = ("decode base64", "cannot be handled as a")

Exchange = Mapping[str, Any]


def exchanges(recording: str, resources: Collection[str] = ACCESS) -> Iterator[Exchange]:
    """Yield all of *recording* that is about *resources* and the server itself."""
    for line in (RECORDINGS / f"{recording}.jsonl").read_text().splitlines():
        one = json.loads(line)
        if _is_ours(one, resources):
            yield one


def _is_ours(one: Exchange, resources: Collection[str]) -> bool:
    answer = one["response"]
    if "chunks" in answer or "body_omitted" in answer:
        return False
    if one["request"]["query"].keys() & {"watch", "verbose"} and answer["status"] == 200:
        return False
    asked = understood(_request(one, {}, None))
    if answer["status"] in (401, 403) or "gadgets" in asked.path:
        return True
    if asked.resource:
        return asked.resource in resources
    return bool(_OUTSIDE.fullmatch(asked.path))


def _request(one: Exchange, received: Mapping[str, str], token: str | None) -> Request:
    asked = one["request"]
    body = json.dumps(asked["body"]) if "body" in asked else asked.get("text", "")
    headers = dict(asked["headers"]) | ({"authorization": f"Bearer {token}"} if token else {})
    sent = json.dumps([asked["path"], asked["query"], body])
    path, query, body = json.loads(_KNOWN.sub(lambda one: received.get(one[0], one[0]), sent))
    return Request(asked["method"], path, query, headers, body.encode())


@dataclass
class Replay:
    """Sends exchanges in their order; *token* gives that of whoever asks, None for nobody.

    *received* holds what stands for the recorded placeholders.
    """

    api: KubernetesApi
    token: Callable[[str], str | None]
    received: dict[str, str] = field(default_factory=dict)

    def differences(self, one: Exchange) -> list[str]:
        """Put the question and return in what the answer differs."""
        answer = self.api.answer(_request(one, self.received, self.token(one["as"])))
        recorded = one["response"]
        if answer.status != recorded["status"]:
            return [f"{one['name']}: {answer.status} instead of {recorded['status']}: {answer}"]
        expected = recorded.get("body", recorded.get("text"))
        if isinstance(expected, dict) and isinstance(answer.body, dict):
            self._learn_all(expected, answer.body)
        return [f"{one['name']}: {found}" for found in self._compared(expected, answer)]

    def watched(self, one: Exchange) -> list[tuple[str, str]]:
        """Return the events that a recorded watch tells when it begins now."""
        asked = {**one["request"], "query": {**one["request"]["query"], "timeoutSeconds": "0.2"}}
        request = _request({"request": asked}, self.received, self.token(one["as"]))
        answer = self.api.answer(request)
        assert answer is not None
        assert isinstance(answer.body, Iterator)
        lines = b"".join(answer.body).splitlines()
        return _told([json.loads(line) for line in lines])

    def _compared(self, expected: Any, answer: Answer) -> Iterator[str]:
        if not isinstance(expected, dict) or not isinstance(answer.body, dict):
            if expected != answer.body:
                yield f"{answer.body!r} instead of {expected!r}"
        elif "resources" in expected or "groups" in expected:
            yield from _discovery(expected, answer.body)
        elif "gitVersion" in expected:
            yield from _keys("version", expected, answer.body)
        else:
            yield from self._values("", expected, answer.body)

    def _values(self, at: str, expected: Any, ours: Any) -> Iterator[str]:
        if isinstance(expected, dict) and isinstance(ours, dict):
            yield from _keys(at, expected, ours)
            for key in (expected.keys() & ours.keys()) - _MADE_UP - _NOT_COMPARED:
                yield from self._values(f"{at}.{key}", expected[key], ours[key])
        elif isinstance(expected, list) and isinstance(ours, list) and len(expected) == len(ours):
            for number, (theirs, our) in enumerate(zip(expected, ours, strict=True)):
                yield from self._values(f"{at}[{number}]", theirs, our)
        elif isinstance(expected, str) and _PLACEHOLDER.fullmatch(expected):
            self.received.setdefault(expected, ours)
        elif not _same(self._ours(expected), ours):
            yield f"{at}: {ours!r} instead of {expected!r}"

    def _learn_all(self, expected: Any, ours: Any) -> None:
        if isinstance(expected, dict) and isinstance(ours, dict):
            self._learn(expected, ours)
            for key in expected.keys() & ours.keys():
                self._learn_all(expected[key], ours[key])
        elif isinstance(expected, list) and isinstance(ours, list):
            for theirs, our in zip(expected, ours, strict=False):
                self._learn_all(theirs, our)

    def _learn(self, expected: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        """Note what the double made up where the server made up something else."""
        made_up = ["uid", "resourceVersion", *(["name"] if "generateName" in expected else [])]
        for key in made_up:
            if key in expected and key in ours:
                self.received[expected[key]] = ours[key]

    def _ours(self, expected: Any) -> Any:
        if not isinstance(expected, str):
            return expected
        return _KNOWN.sub(lambda one: self.received.get(one[0], one[0]), expected)


def events_of(one: Exchange) -> list[tuple[str, str]]:
    """Return the events of a recorded watch, as `Replay.watched` does."""
    return _told([chunk["event"] for chunk in one["response"]["chunks"]])


def _told(events: list[Any]) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    for event in events:
        meta = event["object"]["metadata"]
        one = event["type"], meta.get("generateName") or meta.get("name", "")
        # How often there is a bookmark is a matter of time.
        if one != ("BOOKMARK", "") or one not in told:
            told.append(one)
    return told


def _keys(at: str, expected: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    if different := (expected.keys() ^ ours.keys()) - _NOT_COMPARED:
        yield f"{at}: one side lacks {', '.join(sorted(different))}"


def _same(expected: Any, ours: Any) -> bool:
    # What Go's decoder says of the place of an error goes on at length, and no client reads it.
    if isinstance(expected, str) and isinstance(ours, str):
        if _TIME.fullmatch(expected) and _TIME.fullmatch(ours):
            return True
        if any(part in expected for part in _LONG):
            return expected.startswith(ours)
        expected, ours = _GENERATED.sub("", expected), _GENERATED.sub("", ours)
    return bool(expected == ours)


def _discovery(expected: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    """The double has fewer resources, groups and verbs, and no others."""
    yield from _keys("discovery", expected, ours)
    members = "resources" if "resources" in expected else "groups"
    known = {one["name"]: one for one in expected[members]}
    for one in ours[members]:
        theirs = known.get(one["name"])
        if theirs is None:
            yield f"{one['name']} is not there"
            continue
        for key, value in one.items():
            if key in ("verbs", "versions"):
                if any(member not in theirs[key] for member in value):
                    yield f"{one['name']} has other {key}: {value}"
            elif theirs.get(key) != value:
                yield f"{one['name']} has another {key}: {value}"
