"""Puts recorded requests to the double and compares what it answers with what a server did.

The rules are those of the recordings: what a server makes up, as uids, versions and times, is
compared for presence only.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.doubles.kubernetes.api import KubernetesApi
from tests.doubles.kubernetes.objects import Answer
from tests.doubles.kubernetes.requests import Request, understood

RECORDINGS = Path(__file__).parent / "recordings"
_OURS = {
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
    "secrets",  # the token Secret of an account; servers since 1.24 make none
}
_PLACEHOLDER = re.compile(r"<token:[^>]+>")

Exchange = Mapping[str, Any]


def exchanges(recording: str) -> Iterator[Exchange]:
    """Yield all of *recording* that the double has a notion of."""
    for line in (RECORDINGS / f"{recording}.jsonl").read_text().splitlines():
        one = json.loads(line)
        if _is_ours(one):
            yield one


def _is_ours(one: Exchange) -> bool:
    answer = one["response"]
    if "chunks" in answer or "body_omitted" in answer or one["as"] in ("kubelet", "scheduler"):
        return False
    if one["request"]["query"].keys() & {"watch", "verbose"} and answer["status"] == 200:
        return False
    asked = understood(_request(one, {}, None))
    if answer["status"] in (401, 403) or "gadgets" in asked.path:
        return True
    if asked.resource:
        return asked.resource in _OURS
    return bool(_OUTSIDE.fullmatch(asked.path))


def _request(one: Exchange, received: Mapping[str, str], token: str | None) -> Request:
    asked = one["request"]
    body = json.dumps(asked["body"]) if "body" in asked else asked.get("text", "")
    body = _PLACEHOLDER.sub(lambda found: received.get(found[0], found[0]), body)
    headers = dict(asked["headers"]) | ({"authorization": f"Bearer {token}"} if token else {})
    return Request(asked["method"], asked["path"], asked["query"], headers, body.encode())


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
        return [f"{one['name']}: {found}" for found in self._compared(expected, answer)]

    def _compared(self, expected: Any, answer: Answer) -> Iterator[str]:
        if isinstance(expected, str) or isinstance(answer.body, str):
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
        elif not _same(expected, ours):
            yield f"{at}: {ours!r} instead of {expected!r}"


def _keys(at: str, expected: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    if different := (expected.keys() ^ ours.keys()) - _NOT_COMPARED:
        yield f"{at}: one side lacks {', '.join(sorted(different))}"


def _same(expected: Any, ours: Any) -> bool:
    # What Go's decoder says of the place of an error goes on at length, and no client reads it.
    if isinstance(expected, str) and "decode base64" in expected:
        return expected.startswith(str(ours))
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
