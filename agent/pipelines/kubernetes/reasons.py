"""Says in words for a person why a run waits or failed, as far as the cluster tells.

The text is public; what the cluster itself says, with its names, is the detail.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """*text* may be shown to all, *detail* to the customer alone."""

    text: str
    detail: str


_IMAGE = "the image of a container can't be pulled"
_START = "a container can't be started"
_WAITING = {
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "ErrImageNeverPull": _IMAGE,
    "InvalidImageName": "the name of a container's image is not valid",
    "ImageInspectError": _IMAGE,
    "RegistryUnavailable": _IMAGE,
    "CreateContainerConfigError": "a container needs something that is not there, as a Secret",
    "CreateContainerError": _START,
    "RunContainerError": _START,
}
_EVENTS = {
    "FailedMount": "a volume can't be mounted",
    "FailedAttachVolume": "a volume can't be attached",
    "FailedCreatePodSandBox": "the network of the pod can't be set up",
}
_CREATION = (
    ("exceeded quota", "the quota of the cluster's namespace is used up"),
    ("serviceaccount", "the service account of the pod is not there"),
    ("service account", "the service account of the pod is not there"),
    ("usage per", "the pod needs more than a container may have in the cluster's namespace"),
    ("PodSecurity", "the security rules of the cluster do not admit the pod"),
)


def why_waiting(pod: Object) -> Trouble | None:
    """Return what keeps *pod* from running, None when that is just a matter of time."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Trouble("no node of the cluster can take the pod", _text(condition))
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if text := _WAITING.get(str(waiting.get("reason"))):
            return Trouble(text, _text(waiting))
    return None


def why_in_events(events: Iterable[Object]) -> Trouble | None:
    """Return what the latest event tells that means trouble, about a Job or a pod."""
    found = None
    for event in sorted(events, key=_time):
        reason, message = str(event.get("reason")), str(event.get("message", ""))
        if reason == "FailedCreate":
            matching = [text for part, text in _CREATION if part in message]
            text = matching[0] if matching else "the cluster does not create the pod"
            found = Trouble(text, message)
        elif reason == "SuccessfulCreate":
            found = None
        elif reason in _EVENTS:
            found = Trouble(_EVENTS[reason], message)
    return found


def why_failed(job: Object, pod: Object | None) -> Trouble | None:
    """Return why *job* failed, where its last *pod* or its own condition says more than that."""
    status = (pod or {}).get("status") or {}
    if status.get("reason") == "Evicted":
        return Trouble("the node had no more room and evicted the pod", _text(status))
    for container in _containers(status):
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            return Trouble("a container ran out of memory", _text(ended))
        if ended.get("reason") in ("ContainerCannotRun", "StartError"):
            return Trouble(_START, _text(ended))
    condition = failure_of(job)
    if condition and condition.get("reason") == "DeadlineExceeded":
        return Trouble("the pipeline ran out of time", _text(condition))
    return None


def failure_of(job: Object) -> Object | None:
    """Return the condition that says that *job* has failed."""
    return _condition(job, "Failed")


def is_complete(job: Object) -> bool:
    """Say whether *job* has succeeded."""
    return _condition(job, "Complete") is not None


def is_over(job: Object) -> bool:
    """Say whether *job* has ended, one way or the other."""
    return is_complete(job) or failure_of(job) is not None


def _condition(job: Object, kind: str) -> Object | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            return dict(condition)
    return None


def _containers(status: Object) -> Iterator[Object]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _text(thing: Object) -> str:
    return ": ".join(str(thing[key]) for key in ("reason", "message") if thing.get(key))


def _time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
