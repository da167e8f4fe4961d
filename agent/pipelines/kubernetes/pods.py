"""Where a pod and its containers stand. Why they do is `reasons`' part."""

from collections.abc import Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]


def state_of(pod: Object, name: str) -> dict[str, Any]:
    """Return the state of one container of *pod*."""
    found = (pod.get("status") or {}).get("containerStatuses") or ()
    states = [one.get("state") or {} for one in found if one.get("name") == name]
    return dict(states[0]) if states else {}


def has_begun(pod: Object, container: str) -> bool:
    """Say whether *container* was started, also when it has ended."""
    state = state_of(pod, container)
    return "running" in state or "terminated" in state


def is_over(pod: Object, container: str) -> bool:
    """Say whether *container* has ended, or its pod without it."""
    phase = (pod.get("status") or {}).get("phase")
    return "terminated" in state_of(pod, container) or phase in ("Succeeded", "Failed")


def all_over(pods: Sequence[Object]) -> bool:
    """Say whether there are pods, and all have ended."""
    phases = [(pod.get("status") or {}).get("phase") for pod in pods]
    return bool(phases) and all(phase in ("Succeeded", "Failed") for phase in phases)
